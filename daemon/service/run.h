/* The end of a Run: what collects output gets one result. */
#pragma once

struct call;
struct child;

void run_send_result(struct call *call, struct child *child);
