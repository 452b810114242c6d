//! Calls every method of spawnd with the stock ttrpc crate and stubs its own generator made.
//!
//! usage: stock SOCKET    prints "ok METHOD" for each, panics at the first surprise
mod stubs;

use protobuf::MessageField;
use stubs::admin::*;
use stubs::admin_ttrpc::AdminClient;
use stubs::common::*;
use stubs::events::*;
use stubs::events_ttrpc::EventsClient;
use stubs::pools::*;
use stubs::pools_ttrpc::PoolsClient;
use stubs::processes::*;
use stubs::processes_ttrpc::ProcessesClient;
use ttrpc::context::{with_duration, Context};
use ttrpc::r#async::Client;
use ttrpc::{Code, Error};

fn ctx() -> Context {
    with_duration(std::time::Duration::from_secs(120))
}

fn ok(method: &str) {
    println!("ok {method}");
}

fn args(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

fn spec(words: &[&str]) -> MessageField<ProcessSpec> {
    MessageField::some(ProcessSpec { argv: args(words), ..Default::default() })
}

fn by_id(id: u64) -> MessageField<ProcessRef> {
    let mut process = ProcessRef::new();
    process.set_id(id);
    MessageField::some(process)
}

fn code_of<T: std::fmt::Debug>(result: ttrpc::Result<T>) -> Code {
    match result {
        Err(Error::RpcStatus(status)) => status.code(),
        other => panic!("a status was expected, not {other:?}"),
    }
}

#[tokio::main]
async fn main() {
    let socket = std::env::args().nth(1).expect("usage: stock SOCKET");
    let client = Client::connect(&format!("unix://{socket}")).await.expect("connect");
    let processes = ProcessesClient::new(client.clone());
    let admin = AdminClient::new(client.clone());

    call_admin(&admin).await;
    call_unary(&processes).await;
    call_spawn(&processes).await;
    call_run(&processes).await;
    call_terminal(&processes).await;
    call_channel(&processes).await;
    call_events(&EventsClient::new(client.clone())).await;
    call_pools(&PoolsClient::new(client)).await;
    admin.shutdown(ctx(), &ShutdownRequest::new()).await.expect("Shutdown");
    ok("Admin.Shutdown");
}

async fn call_admin(admin: &AdminClient) {
    let context = ClientContext { cwd: b"/".to_vec(), env: args(&["PATH=/usr/bin:/bin", "STOCK=rust"]), ..Default::default() };
    let request = HelloRequest { client: "stock rust".into(), version: 1, context: MessageField::some(context), ..Default::default() };
    assert_eq!(admin.hello(ctx(), &request).await.expect("Hello").version, 1);
    ok("Admin.Hello");
    let ping = admin.ping(ctx(), &PingRequest { payload: b"echo".to_vec(), ..Default::default() }).await.expect("Ping");
    assert_eq!(ping.payload, b"echo");
    ok("Admin.Ping");
    assert_eq!(admin.version(ctx(), &VersionRequest::new()).await.expect("Version").protocol, 1);
    ok("Admin.Version");
    assert!(admin.stats(ctx(), &StatsRequest::new()).await.expect("Stats").keeper_pid > 0);
    ok("Admin.Stats");
    assert!(admin.metrics(ctx(), &MetricsRequest::new()).await.expect("Metrics").text.ends_with("# EOF\n"));
    ok("Admin.Metrics");
    let level = SetLogLevelRequest { level: "debug".into(), ..Default::default() };
    admin.set_log_level(ctx(), &level).await.expect("SetLogLevel");
    ok("Admin.SetLogLevel");
    let no_engine = UpgradeRequest { path: b"/bin/false".to_vec(), ..Default::default() };
    assert_eq!(code_of(admin.upgrade(ctx(), &no_engine).await), Code::FAILED_PRECONDITION);
    ok("Admin.Upgrade");
}

async fn call_unary(processes: &ProcessesClient) {
    let request = StartRequest { spec: spec(&["sleep", "1000"]), ..Default::default() };
    let started = processes.start(ctx(), &request).await.expect("Start");
    assert!(started.pid > 0);
    ok("Processes.Start");
    let got = processes.get(ctx(), &GetRequest { process: by_id(started.id), ..Default::default() }).await.expect("Get");
    assert_eq!(got.argv, args(&["sleep", "1000"]));
    ok("Processes.Get");
    let list = processes.list(ctx(), &ListRequest::new()).await.expect("List");
    assert!(list.processes.iter().any(|process| process.id == started.id));
    ok("Processes.List");
    let keep = SetOnDisconnectRequest { process: by_id(started.id), on_disconnect: OnDisconnect::ON_DISCONNECT_KEEP.into(), ..Default::default() };
    processes.set_on_disconnect(ctx(), &keep).await.expect("SetOnDisconnect");
    ok("Processes.SetOnDisconnect");
    let signal = SignalRequest { process: by_id(started.id), signal: 12, ..Default::default() };
    assert_eq!(processes.signal(ctx(), &signal).await.expect("Signal").ended, vec![started.pid]);
    ok("Processes.Signal");
    let wait = WaitRequest { process: by_id(started.id), closed: true, ..Default::default() };
    let ended = processes.wait(ctx(), &wait).await.expect("Wait");
    assert_eq!((ended.exit.signal, ended.exit.code), (Some(12), None));
    ok("Processes.Wait");
    let remove = RemoveRequest { process: by_id(started.id), ..Default::default() };
    processes.remove(ctx(), &remove).await.expect("Remove");
    ok("Processes.Remove");
    assert_eq!(code_of(processes.remove(ctx(), &remove).await), Code::NOT_FOUND);
    let second = processes.start(ctx(), &request).await.expect("Start");
    let stopped = processes.stop(ctx(), &StopRequest { process: by_id(second.id), ..Default::default() }).await.expect("Stop");
    assert!(stopped.complete && stopped.exit.signal == Some(15));
    ok("Processes.Stop");
}

async fn call_spawn(processes: &ProcessesClient) {
    let mut stream = processes.spawn(ctx()).await.expect("Spawn");
    let start = SpawnStart { spec: spec(&["sh", "-c", "cat; echo $STOCK; exit 3"]), ..Default::default() };
    let mut first = SpawnRequest::new();
    first.set_start(start);
    stream.send(&first).await.expect("start");
    let mut control = ProcessControl::new();
    control.set_stdin(StdinData { data: vec![b'x'; 300_000], eof: true, ..Default::default() });
    let mut input = SpawnRequest::new();
    input.set_control(control);
    stream.send(&input).await.expect("stdin");
    let (mut stdout, mut order) = (Vec::new(), Vec::new());
    loop {
        let event = match stream.recv().await {
            Ok(event) => event,
            Err(Error::Eof) => break,
            Err(other) => panic!("Spawn: {other:?}"),
        };
        if event.has_output() {
            stdout.extend_from_slice(&event.output().data);
            let mut grant = ProcessControl::new();
            grant.set_grant(Grant { bytes: event.output().data.len() as u64, messages: 1, ..Default::default() });
            let mut more = SpawnRequest::new();
            more.set_control(grant);
            stream.send(&more).await.expect("grant");
        } else if event.has_spawned() {
            order.push("spawned");
        } else if event.has_exited() {
            assert_eq!(event.exited().exit.code, Some(3));
            order.push("exited");
        } else if event.has_closed() {
            order.push("closed");
        }
    }
    assert_eq!(order, ["spawned", "exited", "closed"]);
    assert_eq!(stdout.len(), 300_005);
    assert!(stdout.ends_with(b"rust\n"));
    ok("Processes.Spawn");
    let mut failing = processes.spawn(ctx()).await.expect("Spawn");
    first.set_start(SpawnStart { spec: spec(&["/nonexistent"]), ..Default::default() });
    failing.send(&first).await.expect("start");
    assert_eq!(code_of(failing.recv().await), Code::NOT_FOUND);
}

async fn call_run(processes: &ProcessesClient) {
    let mut stream = processes.run(ctx()).await.expect("Run");
    let mut first = RunRequest::new();
    first.set_start(RunStart { spec: spec(&["tr", "a-z", "A-Z"]), input: Some(b"shout".to_vec()), ..Default::default() });
    stream.send(&first).await.expect("start");
    let (mut stdout, mut code) = (Vec::new(), None);
    loop {
        match stream.recv().await {
            Ok(reply) if reply.has_output() => stdout.extend_from_slice(&reply.output().data),
            Ok(reply) if reply.has_result() => code = reply.result().exit.code,
            Ok(_) => {}
            Err(Error::Eof) => break,
            Err(other) => panic!("Run: {other:?}"),
        }
    }
    assert_eq!((stdout.as_slice(), code), (b"SHOUT".as_slice(), Some(0)));
    ok("Processes.Run");
}

async fn call_terminal(processes: &ProcessesClient) {
    let tty = |slot| Stdio { slot, kind: stdio::Kind::KIND_PTY.into(), ..Default::default() };
    let mut terminal = spec(&["sh", "-c", "read line; echo got $line; stty size"]);
    terminal.mut_or_insert_default().stdio = vec![tty(0), tty(1), tty(2)];
    let started = processes.start(ctx(), &StartRequest { spec: terminal, ..Default::default() }).await.expect("Start");
    let window = WindowSize { rows: 33, columns: 99, ..Default::default() };
    let resize = ResizeRequest { process: by_id(started.id), window: MessageField::some(window), ..Default::default() };
    processes.resize(ctx(), &resize).await.expect("Resize");
    ok("Processes.Resize");
    let mut attach = processes.attach(ctx()).await.expect("Attach");
    let mut first = AttachRequest::new();
    first.set_start(AttachStart { process: by_id(started.id), from_retained: true, ..Default::default() });
    attach.send(&first).await.expect("start");
    write_line(processes, started.id).await;
    let mut text = Vec::new();
    loop {
        match attach.recv().await {
            Ok(event) if event.has_output() => text.extend_from_slice(&event.output().data),
            Ok(_) => {}
            Err(Error::Eof) => break,
            Err(other) => panic!("Attach: {other:?}"),
        }
    }
    assert!(String::from_utf8_lossy(&text).contains("got hello\r\n33 99\r\n"), "{text:?}");
    ok("Processes.Attach");
    let kept = logs_of(processes, started.id).await;
    assert_eq!(kept, text);
    ok("Processes.Logs");
    let mut cat = spec(&["cat"]);
    cat.mut_or_insert_default().stdio = vec![Stdio { slot: 0, kind: stdio::Kind::KIND_PIPE.into(), ..Default::default() }];
    let started = processes.start(ctx(), &StartRequest { spec: cat, ..Default::default() }).await.expect("Start");
    processes.close_stdin(ctx(), &CloseStdinRequest { process: by_id(started.id), ..Default::default() }).await.expect("CloseStdin");
    let ended = processes.wait(ctx(), &WaitRequest { process: by_id(started.id), ..Default::default() }).await.expect("Wait");
    assert_eq!(ended.exit.code, Some(0));
    ok("Processes.CloseStdin");
}

async fn logs_of(processes: &ProcessesClient, id: u64) -> Vec<u8> {
    let mut logs = processes.logs(ctx()).await.expect("Logs");
    let mut request = LogsRequest::new();
    request.set_start(LogsStart { process: by_id(id), ..Default::default() });
    logs.send(&request).await.expect("start");
    let mut kept = Vec::new();
    while let Ok(event) = logs.recv().await {
        kept.extend_from_slice(&event.output().data);
    }
    kept
}

async fn call_channel(processes: &ProcessesClient) {
    let mut child = spec(&["sh", "-c", "exec cat <&3"]);
    child.mut_or_insert_default().stdio = vec![Stdio { slot: 3, kind: stdio::Kind::KIND_CHANNEL.into(), ..Default::default() }];
    let started = processes.start(ctx(), &StartRequest { spec: child, ..Default::default() }).await.expect("Start");
    let mut send = processes.send(ctx()).await.expect("Send");
    let mut request = SendRequest::new();
    request.set_start(SendStart { process: by_id(started.id), ..Default::default() });
    send.send(&request).await.expect("start");
    request.set_data(ChannelMessage { id: 7, tell: true, data: b"{\"a\":1}".to_vec(), ..Default::default() });
    send.send(&request).await.expect("data");
    send.close_send().await.expect("close");
    let mut result = None;
    loop {
        match send.recv().await {
            Ok(mut reply) if reply.has_result() => result = Some(reply.take_result()),
            Ok(_) => {}
            Err(Error::Eof) => break,
            Err(other) => panic!("Send: {other:?}"),
        }
    }
    let result = result.expect("a result");
    assert!(result.id == 7 && result.error.is_none(), "{result:?}");
    ok("Processes.Send");
    processes.disconnect(ctx(), &DisconnectRequest { process: by_id(started.id), ..Default::default() }).await.expect("Disconnect");
    processes.wait(ctx(), &WaitRequest { process: by_id(started.id), closed: true, ..Default::default() }).await.expect("Wait");
    assert_eq!(logs_of(processes, started.id).await, b"{\"a\":1}\n");
    ok("Processes.Disconnect");
}

async fn write_line(processes: &ProcessesClient, id: u64) {
    let mut write = processes.write(ctx()).await.expect("Write");
    let mut request = WriteRequest::new();
    request.set_start(WriteStart { process: by_id(id), ..Default::default() });
    write.send(&request).await.expect("start");
    request.set_data(StdinData { data: b"hello\n".to_vec(), ..Default::default() });
    write.send(&request).await.expect("data");
    write.close_send().await.expect("close");
    let mut written = 0;
    loop {
        match write.recv().await {
            Ok(reply) => written = reply.written,
            Err(Error::Eof) => break,
            Err(other) => panic!("Write: {other:?}"),
        }
    }
    assert_eq!(written, 6);
    ok("Processes.Write");
}

async fn call_events(events: &EventsClient) {
    let mut stream = events.subscribe(ctx()).await.expect("Subscribe");
    let mut request = SubscribeRequest::new();
    request.set_start(SubscribeStart { since_seq: 1, types: vec!["spawned".into(), "exited".into()], ..Default::default() });
    stream.send(&request).await.expect("start");
    let first = stream.recv().await.expect("first");
    let second = stream.recv().await.expect("second");
    assert_eq!((first.type_.as_str(), second.type_.as_str()), ("spawned", "exited"));
    assert!(first.seq < second.seq && first.process == second.process);
    request.set_cancel(Cancel::new());
    stream.send(&request).await.expect("cancel");
    loop {
        match stream.recv().await {
            Ok(_) => {}
            Err(Error::RpcStatus(status)) => {
                assert_eq!(status.code(), Code::CANCELLED);
                break;
            }
            Err(other) => panic!("Cancel: {other:?}"),
        }
    }
    ok("Events.Subscribe");
}

fn stock_pool() -> MessageField<PoolRef> {
    let mut pool = PoolRef::new();
    pool.set_name("stock".to_string());
    MessageField::some(pool)
}

async fn call_pools(pools: &PoolsClient) {
    let listener = ListenerSpec { address: "tcp://127.0.0.1:0".to_string(), ..Default::default() };
    let create = CreatePoolRequest {
        wait: true,
        spec: MessageField::some(PoolSpec {
            name: "stock".to_string(),
            size: 1,
            template: spec(&["sleep", "60"]),
            listeners: vec![listener],
            ..Default::default()
        }),
        ..Default::default()
    };
    let pool = pools.create(ctx(), &create).await.expect("Create");
    assert_eq!(pool.state.enum_value(), Ok(PoolState::POOL_STATE_RUNNING));
    ok("Pools.Create");
    let scale = ScalePoolRequest { pool: stock_pool(), size: 2, wait: true, ..Default::default() };
    assert_eq!(pools.scale(ctx(), &scale).await.expect("Scale").workers.len(), 2);
    ok("Pools.Scale");
    let get = GetPoolRequest { pool: stock_pool(), ..Default::default() };
    assert_eq!(pools.get(ctx(), &get).await.expect("Get").size, 2);
    ok("Pools.Get");
    assert_eq!(pools.list(ctx(), &ListPoolsRequest::new()).await.expect("List").pools.len(), 1);
    ok("Pools.List");
    let stop = StopPoolRequest { pool: stock_pool(), ..Default::default() };
    let stopped = pools.stop(ctx(), &stop).await.expect("Stop");
    assert_eq!(stopped.state.enum_value(), Ok(PoolState::POOL_STATE_STOPPED));
    ok("Pools.Stop");
    let remove = RemovePoolRequest { pool: stock_pool(), ..Default::default() };
    pools.remove(ctx(), &remove).await.expect("Remove");
    ok("Pools.Remove");
}
