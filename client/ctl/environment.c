/* Variables for a process. Files are read whole or not at all: what cannot be a variable is an error that names its line. */
#include "environment.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

bool environment_add(struct words *variables, const char *text, struct why *why)
{
	_cleanup_free_ char *joined = NULL;
	const char *value;
	size_t length;

	if (value_assignment(text, &length, why)) {
		words_add(variables, text);
		return true;
	}
	if (strchr(text, '=') || *text == '\0')
		return false;
	value = getenv(text);
	if (value) {
		joined = mem_printf("%s=%s", text, value);
		words_add(variables, joined);
	}
	return true;
}

static bool add_line(struct words *variables, char *line, size_t length, struct why *why)
{
	if (length > 0 && line[length - 1] == '\n')
		line[--length] = '\0';
	if (strlen(line) != length) {
		snprintf(why->text, sizeof(why->text), "contains a NUL byte");
		return false;
	}
	return line[0] == '\0' || line[0] == '#' || environment_add(variables, line, why);
}

bool environment_read(const struct ctl *ctl, const char *path, struct words *variables)
{
	FILE *stream = fopen(path, "re");
	_cleanup_free_ char *line = NULL;
	struct why why = {""};
	size_t room = 0;
	unsigned number = 0;
	ssize_t length;
	bool good = true;
	int failure;

	if (!stream) {
		ctl_error(ctl, "%s: %s", path, strerror(errno));
		return false;
	}
	while (good && (length = getline(&line, &room, stream)) >= 0) {
		number++;
		good = add_line(variables, line, (size_t)length, &why);
	}
	failure = good && ferror(stream) ? errno : 0;
	fclose(stream);
	if (!good)
		ctl_error(ctl, "%s: line %u: %s", path, number, why.text);
	else if (failure)
		ctl_error(ctl, "%s: %s", path, strerror(failure));
	return good && !failure;
}
