// A child that sends back all it gets, a server or socket too. Nothing here knows of spawnd: fork() of Node runs it as well.
process.on('message', (message, handle) => process.send(message, handle, () => handle?.close?.()));
