/* spawnd-engine: started by the keeper (spawnd), with the link to it at LINK_FD and the options of spawnd. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "engine/engine.h"
#include "link/link.h"

int main(int argc, char **argv)
{
	socklen_t size = sizeof(int);
	int type = 0;

	if (getsockopt(LINK_FD, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_SEQPACKET) {
		fprintf(stderr, "spawnd-engine: is started by spawnd, which see\n");
		return EXIT_FAILURE;
	}
	prctl(PR_SET_NAME, "spawnd-engine"); /* we were started by descriptor */
	return engine_run(argc, argv, LINK_FD);
}
