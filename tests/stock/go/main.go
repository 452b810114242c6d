// Calls every method of spawnd with containerd's own ttrpc client and stubs its own generator made.
//
// usage: stock SOCKET    prints "ok METHOD" for each, ends with 1 at the first surprise
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "spawnd/tests/stock/gen/spawnd/v1"
)

var ctx, cancel = context.WithTimeout(context.Background(), 2*time.Minute)

func must(err error, what string) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
		os.Exit(1)
	}
}

func check(good bool, what string, got interface{}) {
	if !good {
		fmt.Fprintf(os.Stderr, "%s: unexpected %v\n", what, got)
		os.Exit(1)
	}
}

func ok(method string) { fmt.Println("ok", method) }

func args(words ...string) [][]byte {
	var out [][]byte
	for _, word := range words {
		out = append(out, []byte(word))
	}
	return out
}

func byID(id uint64) *pb.ProcessRef { return &pb.ProcessRef{Ref: &pb.ProcessRef_Id{Id: id}} }

func control(c *pb.ProcessControl) *pb.SpawnRequest {
	return &pb.SpawnRequest{Message: &pb.SpawnRequest_Control{Control: c}}
}

func main() {
	defer cancel()
	connection, err := net.Dial("unix", os.Args[1])
	must(err, "dial")
	client := ttrpc.NewClient(connection)
	defer client.Close()

	callAdmin(pb.NewAdminClient(client))
	callUnary(pb.NewProcessesClient(client))
	callStreams(pb.NewProcessesClient(client))
	callChannel(pb.NewProcessesClient(client))
	callEvents(pb.NewEventsClient(client), pb.NewProcessesClient(client))
	callPools(pb.NewPoolsClient(client))
	callErrors(pb.NewProcessesClient(client))
	shutdown(pb.NewAdminClient(client))
}

func callAdmin(admin pb.AdminService) {
	umask := uint32(0o027)
	hello, err := admin.Hello(ctx, &pb.HelloRequest{Client: "stock go", Version: 1, Context: &pb.ClientContext{
		Cwd: []byte("/"), Env: args("PATH=/usr/bin:/bin", "STOCK=go"), Umask: &umask}})
	must(err, "Hello")
	check(hello.Version == 1, "Hello", hello)
	ok("Admin.Hello")
	ping, err := admin.Ping(ctx, &pb.PingRequest{Payload: []byte("echo")})
	must(err, "Ping")
	check(string(ping.Payload) == "echo", "Ping", ping)
	ok("Admin.Ping")
	version, err := admin.Version(ctx, &pb.VersionRequest{})
	must(err, "Version")
	check(version.Protocol == 1 && version.Version != "", "Version", version)
	ok("Admin.Version")
	stats, err := admin.Stats(ctx, &pb.StatsRequest{})
	must(err, "Stats")
	check(stats.KeeperPid > 0 && stats.EnginePid > 0 && stats.Clients == 1, "Stats", stats)
	ok("Admin.Stats")
	metrics, err := admin.Metrics(ctx, &pb.MetricsRequest{})
	must(err, "Metrics")
	check(bytes.HasSuffix([]byte(metrics.Text), []byte("# EOF\n")), "Metrics", metrics)
	ok("Admin.Metrics")
	_, err = admin.SetLogLevel(ctx, &pb.SetLogLevelRequest{Level: "debug"})
	must(err, "SetLogLevel")
	ok("Admin.SetLogLevel")
	_, err = admin.Upgrade(ctx, &pb.UpgradeRequest{Path: []byte("/bin/false")})
	check(status.Code(err) == codes.FailedPrecondition, "Upgrade", err)
	ok("Admin.Upgrade")
}

func callUnary(processes pb.ProcessesClient) {
	started, err := processes.Start(ctx, &pb.StartRequest{Spec: &pb.ProcessSpec{Name: "stock", Argv: args("sleep", "1000"),
		Labels: map[string]string{"kind": "stock"}}})
	must(err, "Start")
	check(started.Pid > 0 && started.State == pb.ProcessState_PROCESS_STATE_RUNNING, "Start", started)
	ok("Processes.Start")
	got, err := processes.Get(ctx, &pb.GetRequest{Process: &pb.ProcessRef{Ref: &pb.ProcessRef_Name{Name: "stock"}}})
	must(err, "Get")
	check(got.Id == started.Id && string(got.Spec.Argv[1]) == "1000", "Get", got)
	ok("Processes.Get")
	list, err := processes.List(ctx, &pb.ListRequest{Labels: map[string]string{"kind": "stock"}})
	must(err, "List")
	check(len(list.Processes) == 1, "List", list)
	ok("Processes.List")
	_, err = processes.SetOnDisconnect(ctx, &pb.SetOnDisconnectRequest{Process: byID(started.Id), OnDisconnect: pb.OnDisconnect_ON_DISCONNECT_KEEP})
	must(err, "SetOnDisconnect")
	ok("Processes.SetOnDisconnect")
	killed, err := processes.Signal(ctx, &pb.SignalRequest{Process: byID(started.Id), Signal: 10})
	must(err, "Signal")
	check(len(killed.Ended) == 1 && killed.Ended[0] == started.Pid, "Signal", killed)
	ok("Processes.Signal")
	ended, err := processes.Wait(ctx, &pb.WaitRequest{Process: byID(started.Id), Closed: true})
	must(err, "Wait")
	check(ended.Exit.GetSignal() == 10 && ended.Exit.Code == nil, "Wait", ended)
	ok("Processes.Wait")
	_, err = processes.Remove(ctx, &pb.RemoveRequest{Process: byID(started.Id)})
	must(err, "Remove")
	ok("Processes.Remove")
	second, err := processes.Start(ctx, &pb.StartRequest{Spec: &pb.ProcessSpec{Argv: args("sleep", "1000")}})
	must(err, "Start")
	stopped, err := processes.Stop(ctx, &pb.StopRequest{Process: byID(second.Id)})
	must(err, "Stop")
	check(stopped.Complete && stopped.Exit.GetSignal() == 15, "Stop", stopped)
	ok("Processes.Stop")
}

func callStreams(processes pb.ProcessesClient) {
	stream, err := processes.Spawn(ctx)
	must(err, "Spawn")
	must(stream.Send(&pb.SpawnRequest{Message: &pb.SpawnRequest_Start{Start: &pb.SpawnStart{
		Spec: &pb.ProcessSpec{Argv: args("sh", "-c", "cat; echo $STOCK; umask >&2; exit 7")}}}}), "Spawn send")
	input := bytes.Repeat([]byte("0123456789abcdef"), 128*1024)
	first := make(chan struct{}) // the first window is on its way, so that nothing overtakes it
	go func() {
		defer close(first)
		for rest := input[:1<<20]; len(rest) > 0; rest = rest[1<<16:] {
			must(stream.Send(control(&pb.ProcessControl{Control: &pb.ProcessControl_Stdin{Stdin: &pb.StdinData{Data: rest[:1<<16]}}})), "stdin")
		}
	}()
	output := map[uint32][]byte{}
	var order []string
	room, sent := uint64(0), 1<<20
	for {
		event, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		must(err, "Spawn receive")
		switch e := event.Event.(type) {
		case *pb.ProcessEvent_Spawned:
			order = append(order, "spawned")
		case *pb.ProcessEvent_Output:
			output[e.Output.Slot] = append(output[e.Output.Slot], e.Output.Data...)
			must(stream.Send(control(&pb.ProcessControl{Control: &pb.ProcessControl_Grant{Grant: &pb.Grant{Bytes: uint64(len(e.Output.Data)), Messages: 1}}})), "grant")
		case *pb.ProcessEvent_StdinGrant:
			room += e.StdinGrant.Bytes
			<-first
			for sent < len(input) && room >= 1<<16 {
				must(stream.Send(control(&pb.ProcessControl{Control: &pb.ProcessControl_Stdin{Stdin: &pb.StdinData{
					Data: input[sent : sent+1<<16], Eof: sent+1<<16 == len(input)}}})), "stdin")
				sent += 1 << 16
				room -= 1 << 16
			}
		case *pb.ProcessEvent_Exited:
			order = append(order, "exited")
			check(e.Exited.Exit.GetCode() == 7, "Exited", e)
		case *pb.ProcessEvent_Closed:
			order = append(order, "closed")
			check(e.Closed.Exit.Output[0].Bytes == uint64(len(output[1])), "Closed", e)
		}
	}
	check(fmt.Sprint(order) == "[spawned exited closed]", "order", order)
	check(bytes.Equal(output[1], append(append([]byte{}, input...), "go\n"...)), "stdout", len(output[1]))
	check(string(output[2]) == "0027\n", "stderr", string(output[2]))
	ok("Processes.Spawn")
	callRun(processes)
	callAttach(processes)
}

func callRun(processes pb.ProcessesClient) {
	run, err := processes.Run(ctx)
	must(err, "Run")
	must(run.Send(&pb.RunRequest{Message: &pb.RunRequest_Start{Start: &pb.RunStart{
		Spec: &pb.ProcessSpec{Argv: args("tr", "a-z", "A-Z")}, Input: []byte("shout")}}}), "Run send")
	var stdout []byte
	var result *pb.RunResult
	for {
		reply, err := run.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		must(err, "Run receive")
		if out := reply.GetOutput(); out != nil {
			stdout = append(stdout, out.Data...)
		}
		if r := reply.GetResult(); r != nil {
			result = r
		}
	}
	check(string(stdout) == "SHOUT" && result.Exit.GetCode() == 0, "Run", string(stdout))
	ok("Processes.Run")
}

func callAttach(processes pb.ProcessesClient) {
	started, err := processes.Start(ctx, &pb.StartRequest{Spec: &pb.ProcessSpec{Argv: args("sh", "-c", "read line; echo got $line; stty size"),
		Stdio: []*pb.Stdio{{Slot: 0, Kind: pb.Stdio_KIND_PTY}, {Slot: 1, Kind: pb.Stdio_KIND_PTY}, {Slot: 2, Kind: pb.Stdio_KIND_PTY}}}})
	must(err, "Start")
	attach, err := processes.Attach(ctx)
	must(err, "Attach")
	must(attach.Send(&pb.AttachRequest{Message: &pb.AttachRequest_Start{Start: &pb.AttachStart{Process: byID(started.Id), FromRetained: true}}}), "Attach send")
	_, err = processes.Resize(ctx, &pb.ResizeRequest{Process: byID(started.Id), Window: &pb.WindowSize{Rows: 33, Columns: 99}})
	must(err, "Resize")
	ok("Processes.Resize")
	// this library holds one message of a stream and then stops reading all of them
	attached := make(chan []byte)
	go func() {
		var text []byte
		for {
			event, err := attach.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			must(err, "Attach receive")
			if out := event.GetOutput(); out != nil {
				text = append(text, out.Data...)
			}
		}
		attached <- text
	}()
	write, err := processes.Write(ctx)
	must(err, "Write")
	must(write.Send(&pb.WriteRequest{Message: &pb.WriteRequest_Start{Start: &pb.WriteStart{Process: byID(started.Id)}}}), "Write send")
	must(write.Send(&pb.WriteRequest{Message: &pb.WriteRequest_Data{Data: &pb.StdinData{Data: []byte("hello\n")}}}), "Write data")
	must(write.CloseSend(), "Write close")
	written := uint64(0)
	for {
		reply, err := write.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		must(err, "Write receive")
		written = reply.Written
	}
	check(written == 6, "Write", written)
	ok("Processes.Write")
	text := <-attached
	check(bytes.Contains(text, []byte("got hello\r\n33 99\r\n")), "Attach", string(text))
	ok("Processes.Attach")
	kept := logsOf(processes, started.Id)
	check(bytes.Equal(kept, text), "Logs", string(kept))
	ok("Processes.Logs")
	cat, err := processes.Start(ctx, &pb.StartRequest{Spec: &pb.ProcessSpec{Argv: args("cat"), Stdio: []*pb.Stdio{{Slot: 0, Kind: pb.Stdio_KIND_PIPE}}}})
	must(err, "Start")
	_, err = processes.CloseStdin(ctx, &pb.CloseStdinRequest{Process: byID(cat.Id)})
	must(err, "CloseStdin")
	ended, err := processes.Wait(ctx, &pb.WaitRequest{Process: byID(cat.Id)})
	must(err, "Wait")
	check(ended.Exit.GetCode() == 0 && ended.Exit.Code != nil, "CloseStdin", ended)
	ok("Processes.CloseStdin")
}

func logsOf(processes pb.ProcessesClient, id uint64) []byte {
	logs, err := processes.Logs(ctx)
	must(err, "Logs")
	must(logs.Send(&pb.LogsRequest{Message: &pb.LogsRequest_Start{Start: &pb.LogsStart{Process: byID(id)}}}), "Logs send")
	var kept []byte
	for {
		event, err := logs.Recv()
		if errors.Is(err, io.EOF) {
			return kept
		}
		must(err, "Logs receive")
		if out := event.GetOutput(); out != nil {
			kept = append(kept, out.Data...)
		}
	}
}

func callChannel(processes pb.ProcessesClient) {
	started, err := processes.Start(ctx, &pb.StartRequest{Spec: &pb.ProcessSpec{Argv: args("sh", "-c", "exec cat <&3"),
		Stdio: []*pb.Stdio{{Slot: 3, Kind: pb.Stdio_KIND_CHANNEL}}}})
	must(err, "Start")
	send, err := processes.Send(ctx)
	must(err, "Send")
	must(send.Send(&pb.SendRequest{Message: &pb.SendRequest_Start{Start: &pb.SendStart{Process: byID(started.Id)}}}), "Send start")
	must(send.Send(&pb.SendRequest{Message: &pb.SendRequest_Data{Data: &pb.ChannelMessage{Id: 7, Tell: true, Data: []byte(`{"a":1}`)}}}), "Send data")
	must(send.CloseSend(), "Send close")
	var result *pb.MessageResult
	for {
		reply, err := send.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		must(err, "Send receive")
		if reply.GetResult() != nil {
			result = reply.GetResult()
		}
	}
	check(result != nil && result.Id == 7 && result.Error == nil, "Send", result)
	ok("Processes.Send")
	_, err = processes.Disconnect(ctx, &pb.DisconnectRequest{Process: byID(started.Id)})
	must(err, "Disconnect")
	_, err = processes.Wait(ctx, &pb.WaitRequest{Process: byID(started.Id), Closed: true})
	must(err, "Wait")
	check(string(logsOf(processes, started.Id)) == `{"a":1}`+"\n", "Disconnect", started)
	ok("Processes.Disconnect")
}

func callEvents(events pb.EventsClient, processes pb.ProcessesClient) {
	stream, err := events.Subscribe(ctx)
	must(err, "Subscribe")
	must(stream.Send(&pb.SubscribeRequest{Message: &pb.SubscribeRequest_Start{Start: &pb.SubscribeStart{SinceSeq: 1}}}), "Subscribe send")
	seen := map[string]bool{}
	for seq := uint64(1); !(seen["spawned"] && seen["exited"] && seen["closed"]); seq++ {
		event, err := stream.Recv()
		must(err, "Subscribe receive")
		check(event.Seq == seq, "Subscribe", event)
		seen[event.Type] = true
	}
	must(stream.Send(&pb.SubscribeRequest{Message: &pb.SubscribeRequest_Cancel{Cancel: &pb.Cancel{}}}), "cancel")
	for {
		if _, err = stream.Recv(); err != nil {
			break
		}
	}
	check(status.Code(err) == codes.Canceled, "Cancel", err)
	ok("Events.Subscribe")
}

func callErrors(processes pb.ProcessesClient) {
	_, err := processes.Get(ctx, &pb.GetRequest{Process: byID(999999)})
	check(status.Code(err) == codes.NotFound, "NotFound", err)
	_, err = processes.Start(ctx, &pb.StartRequest{Spec: &pb.ProcessSpec{Argv: args("/nonexistent")}})
	check(status.Code(err) == codes.NotFound && status.Convert(err).Message() == "spawn /nonexistent ENOENT", "ENOENT", err)
	_, err = processes.Start(ctx, &pb.StartRequest{Spec: &pb.ProcessSpec{Argv: args("a\x00b")}})
	check(status.Code(err) == codes.InvalidArgument, "NUL", err)
	ok("errors")
}

func shutdown(admin pb.AdminService) {
	_, err := admin.Shutdown(ctx, &pb.ShutdownRequest{})
	must(err, "Shutdown")
	ok("Admin.Shutdown")
}

func callPools(pools pb.PoolsService) {
	ref := &pb.PoolRef{Ref: &pb.PoolRef_Name{Name: "stock"}}
	pool, err := pools.Create(ctx, &pb.CreatePoolRequest{Wait: true, Spec: &pb.PoolSpec{
		Name: "stock", Size: 1, Template: &pb.ProcessSpec{Argv: args("sleep", "60")},
		Listeners: []*pb.ListenerSpec{{Address: "tcp://127.0.0.1:0"}}}})
	must(err, "Create")
	check(pool.State == pb.PoolState_POOL_STATE_RUNNING && len(pool.Workers) == 1, "Create", pool)
	ok("Pools.Create")
	pool, err = pools.Scale(ctx, &pb.ScalePoolRequest{Pool: ref, Size: 2, Wait: true})
	must(err, "Scale")
	check(len(pool.Workers) == 2, "Scale", pool)
	ok("Pools.Scale")
	pool, err = pools.Get(ctx, &pb.GetPoolRequest{Pool: ref})
	must(err, "Get")
	check(pool.Size == 2, "Get", pool)
	ok("Pools.Get")
	list, err := pools.List(ctx, &pb.ListPoolsRequest{})
	must(err, "List")
	check(len(list.Pools) == 1, "List", list)
	ok("Pools.List")
	pool, err = pools.Stop(ctx, &pb.StopPoolRequest{Pool: ref})
	must(err, "Stop")
	check(pool.State == pb.PoolState_POOL_STATE_STOPPED, "Stop", pool)
	ok("Pools.Stop")
	_, err = pools.Remove(ctx, &pb.RemovePoolRequest{Pool: ref})
	must(err, "Remove")
	ok("Pools.Remove")
}
