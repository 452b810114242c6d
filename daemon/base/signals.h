/* Dispositions of all signals at once, those that the C library keeps for itself (32, 33) included. */
#pragma once

/* Everything as at the birth of a program: default dispositions, nothing blocked. */
void signals_reset(void);

/*
 * Ignores every signal whose default would end the process, but for those that say that it is broken (SIGSEGV, SIGABRT, ...)
 * and SIGCHLD. One that is watched by a loop afterwards still comes.
 */
void signals_ignore_stray(void);
