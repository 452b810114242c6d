/* Variables for a process, as options and files name them. */
#pragma once

#include "ctl.h"
#include "run_options.h"

/* Adds "NAME=VALUE", or for "NAME" the variable of our own environment if there is one, as docker takes it. */
bool environment_add(struct words *variables, const char *text, struct why *why);

/* Adds what a file says: a variable a line; empty lines and those that start with # are passed over. false: told, with its line. */
bool environment_read(const struct ctl *ctl, const char *path, struct words *variables);
