/* Acts of Signal and Stop that are under way. */
#pragma once

struct service;

/* The service ends: nobody waits any more. */
void kill_forget_all(struct service *service);
