/*
 * Another engine goes on from this one. The keeper starts it beside us and lets it look at what there is; what it says comes
 * back here. When it can, this engine leaves as if it had died: nothing is taken down that the next one takes up.
 */
#pragma once

#include "service/service.h"

struct engine;
struct upgrade;

struct upgrade *upgrade_create(struct engine *engine);
void upgrade_destroy(struct upgrade *upgrade); /* NULL is fine; what is under way fails */

/*
 * To the program at path: an engine, or spawnd or a directory that has one beside or in it. "": what is installed. `done` comes
 * exactly once, later, unless an error is returned.
 */
int upgrade_begin(struct upgrade *upgrade, const char *path, service_upgraded_fn done, void *arg, struct err *err);

/* keeper_observer.on_upgraded */
void upgrade_on_answer(struct upgrade *upgrade, int32_t pid, const char *version, const char *why);

/* Whether this program can go on from what another engine has: keeper_observer.on_offer. */
int upgrade_check(int journal, int ledger, struct err *err);
