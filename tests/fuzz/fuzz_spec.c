/* A ProcessSpec that passed the check is compiled: accepted or refused by a named field, never anything else. */
#include <stdint.h>
#include <stdlib.h>

#include "base/mem.h"
#include "process/spec.h"
#include "rpc/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char *env[] = {(char *)"PATH=/bin", (char *)"A=b", NULL};
	struct spec_context context = {.cwd = "/", .env = env, .uid = 1000, .gid = 1000};
	Spawnd__V1__ProcessSpec *message;
	struct spec *spec;
	struct err err = {.field = ""};

	if (size < 1 || check_message(&spawnd__v1__process_spec__descriptor, data + 1, size - 1, &err) < 0)
		return 0;
	message = spawnd__v1__process_spec__unpack(NULL, size - 1, data + 1);
	if (!message)
		return 0;
	if (spec_compile(message, &context, (enum spec_use)(data[0] % 3), &spec, &err) == 0)
		spec_unref(spec);
	else if (!err.field[0])
		abort();
	spawnd__v1__process_spec__free_unpacked(message, NULL);
	return 0;
}
