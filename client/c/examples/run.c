/* Runs a command to its end and shows what it wrote: exec and execFile in one call. */
#include <spawnd.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	static const char *const standard[] = {"sort", NULL};
	const char *const *command = argc > 1 ? (const char *const *)argv + 1 : standard;
	struct spawnd_result result;
	struct spawnd_error error;
	struct spawnd_spec *spec;
	struct spawnd *client;
	int done;

	if (spawnd_connect(NULL, 0, &client, &error) < 0) {
		fprintf(stderr, "run: %s\n", error.message);
		return 69;
	}
	spec = spawnd_spec_create(command);
	done = spawnd_run(client, spec, "pear\napple\n", 11, &result, &error);
	spawnd_spec_free(spec);
	if (done < 0) {
		fprintf(stderr, "run: %s\n", error.message); /* "spawn foo ENOENT" */
		spawnd_close(client);
		return 1;
	}
	fwrite(result.out, 1, result.out_size, stdout);
	fwrite(result.err, 1, result.err_size, stderr);
	done = result.exit.code >= 0 ? result.exit.code : 128 + result.exit.signal;
	spawnd_result_clear(&result);
	spawnd_close(client);
	return done;
}
