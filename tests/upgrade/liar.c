/* A candidate that says it can take over and cannot: it ends when it is welcomed, or (HANGS) never serves. */
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "link/link.h"
#include "spawnd/runtime/v1/keeper.pb.h"

static void wait_for(int fd)
{
	struct pollfd pollfd = {.fd = fd, .events = POLLIN};

	poll(&pollfd, 1, -1);
}

int main(void)
{
	spawnd_runtime_v1_KeeperOrder able = {.which_order = spawnd_runtime_v1_KeeperOrder_able_tag, .order.able.version = "9.9.9"};
	spawnd_runtime_v1_KeeperNotice notice;
	int fds[FDPASS_MAX];
	struct link link;
	size_t count;

	signal(SIGPIPE, SIG_IGN);
	link_init(&link, LINK_FD);
	wait_for(link.fd);
	if (link_receive(&link, spawnd_runtime_v1_KeeperNotice_fields, &notice, fds, &count) != 1 ||
		notice.which_notice != spawnd_runtime_v1_KeeperNotice_offer_tag)
		return 1;
	link_send(&link, spawnd_runtime_v1_KeeperOrder_fields, &able, NULL, 0);
	wait_for(link.fd);
#ifdef HANGS
	pause();
#endif
	return 3;
}
