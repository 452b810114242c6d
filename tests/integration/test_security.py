"""Who may do what: every method for every role, whose processes they are, run-as, namespaces, no_new_privs, audit."""
import os
import pathlib
import signal
import stat

import pytest

import ttrpc
import users
from ttrpc import Closed, RpcError, admin, common, events, pools, processes
from users import ALICE, BOB, CAROL, GROUP, client, refusal, reload

ROLES = ["observe", "attach", "signal", "spawn", "admin"]
UID = {role: 61011 + i for i, role in enumerate(ROLES)}
GRANTS = [f"grant = uid:{uid} {role}" for role, uid in UID.items()]

# The role that each method needs for the objects of others; OWN: what a client made itself needs none.
NOBODY, FILTERED = "", "what it shows depends on the role"
NEEDS = {
    "Processes.Spawn": "spawn", "Processes.Run": "spawn", "Processes.Start": "spawn",
    "Processes.Attach": "attach", "Processes.Write": "attach", "Processes.Resize": "attach", "Processes.CloseStdin": "attach",
    "Processes.Send": "attach", "Processes.Disconnect": "attach",
    "Processes.Signal": "signal", "Processes.Stop": "signal", "Processes.SetOnDisconnect": "signal", "Processes.Remove": "signal",
    "Processes.Logs": "observe", "Processes.Wait": "observe", "Processes.Get": "observe",
    "Processes.List": FILTERED, "Events.Subscribe": FILTERED,
    "Pools.Create": "spawn", "Pools.List": FILTERED, "Pools.Get": "observe", "Pools.Scale": "signal", "Pools.Stop": "signal",
    "Pools.Remove": "signal",
    "Admin.Hello": NOBODY, "Admin.Ping": NOBODY, "Admin.Version": NOBODY,
    "Admin.Stats": "observe", "Admin.Metrics": "observe",
    "Admin.SetLogLevel": "admin", "Admin.Upgrade": "admin", "Admin.Shutdown": "admin",
}
OF_AN_OBJECT = [name for name in NEEDS if name.startswith("Processes.") and NEEDS[name] in ("attach", "signal", "observe")]


def pool_request(name):
    return pools.CreatePoolRequest(spec=pools.PoolSpec(name=name, size=1, template=ttrpc.make_spec("sleep", "1000")))


def request_for(name, process):
    """A request of each method; about this process, if it is about one."""
    ref = ttrpc.ref(process)
    spec = ttrpc.make_spec("true")
    return {
        "Processes.Spawn": lambda: processes.SpawnRequest(start=processes.SpawnStart(spec=spec)),
        "Processes.Run": lambda: processes.RunRequest(start=processes.RunStart(spec=spec)),
        "Processes.Start": lambda: processes.StartRequest(spec=spec),
        "Processes.Attach": lambda: processes.AttachRequest(start=processes.AttachStart(process=ref)),
        "Processes.Write": lambda: processes.WriteRequest(start=processes.WriteStart(process=ref)),
        "Processes.Logs": lambda: processes.LogsRequest(start=processes.LogsStart(process=ref)),
        "Processes.Send": lambda: processes.SendRequest(start=processes.SendStart(process=ref)),
        "Processes.Disconnect": lambda: processes.DisconnectRequest(process=ref),
        "Processes.Resize": lambda: processes.ResizeRequest(process=ref, window=processes.WindowSize(rows=5, columns=5)),
        "Processes.CloseStdin": lambda: processes.CloseStdinRequest(process=ref),
        "Processes.Signal": lambda: processes.SignalRequest(process=ref, signal=0),
        "Processes.Stop": lambda: processes.StopRequest(process=ref, grace_ms=1000),
        "Processes.SetOnDisconnect": lambda: processes.SetOnDisconnectRequest(process=ref, on_disconnect=processes.ON_DISCONNECT_KEEP),
        "Processes.Remove": lambda: processes.RemoveRequest(process=ref),
        "Processes.Wait": lambda: processes.WaitRequest(process=ref, timeout_ms=1),
        "Processes.Get": lambda: processes.GetRequest(process=ref),
        "Processes.List": processes.ListRequest,
        "Events.Subscribe": lambda: events.SubscribeRequest(start=events.SubscribeStart(since_seq=1)),
        **{f"Pools.{method}": lambda kind=kind: kind(pool=pools.PoolRef(name="others"))
           for method, kind in (("Scale", pools.ScalePoolRequest), ("Stop", pools.StopPoolRequest), ("Get", pools.GetPoolRequest),
                                ("Remove", pools.RemovePoolRequest))},
        "Pools.Create": lambda: pool_request("own"), "Pools.List": pools.ListPoolsRequest,
        "Admin.Hello": lambda: admin.HelloRequest(client="tests", version=1),
        "Admin.Ping": admin.PingRequest, "Admin.Version": admin.VersionRequest,
        "Admin.Stats": admin.StatsRequest, "Admin.Metrics": admin.MetricsRequest,
        "Admin.SetLogLevel": lambda: admin.SetLogLevelRequest(level="info"),
        "Admin.Upgrade": lambda: admin.UpgradeRequest(path=b"relative"),
        "Admin.Shutdown": lambda: admin.ShutdownRequest(keep=True),
    }[name]()


METHODS = {f"{service.name}.{method.name}": method
           for module in (processes, events, pools, admin)
           for service in module.DESCRIPTOR.services_by_name.values() for method in service.methods}
CANCEL = {
    "Processes.Spawn": lambda: processes.SpawnRequest(control=processes.ProcessControl(cancel=common.Cancel())),
    "Processes.Run": lambda: processes.RunRequest(control=processes.ProcessControl(cancel=common.Cancel())),
    "Processes.Attach": lambda: processes.AttachRequest(control=processes.ProcessControl(cancel=common.Cancel())),
    "Processes.Write": lambda: processes.WriteRequest(cancel=common.Cancel()),
    "Processes.Send": lambda: processes.SendRequest(cancel=common.Cancel()),
    "Processes.Logs": lambda: processes.LogsRequest(cancel=common.Cancel()),
    "Events.Subscribe": lambda: events.SubscribeRequest(cancel=common.Cancel()),
}


def message_class(descriptor):
    module = {"processes": processes, "events": events, "pools": pools, "admin": admin}[pathlib.Path(descriptor.file.name).stem]
    return getattr(module, descriptor.name)


def try_method(connected, name, process):
    """Calls a method to its end; the status it ended with. A stream is cancelled after its first message."""
    service, method = name.split(".")
    reply = message_class(METHODS[name].output_type)
    try:
        if name not in CANCEL:
            connected.call(service, method, request_for(name, process), reply())
            return "OK"
        stream = connected.stream(service, method, reply)
        stream.send(request_for(name, process))
        stream.send(CANCEL[name]())
        for _ in stream:
            pass
        return "OK"
    except RpcError as error:
        return error.code


def victim(connected):
    """A process that runs until it is killed, of whoever asks."""
    return connected.start("sleep", "1000", stdio=[ttrpc.stdio(0, ttrpc.PIPE)])


# ---- who may connect

def test_the_table_has_every_method_of_every_service():
    assert set(NEEDS) == set(METHODS)


def test_without_grants_another_user_cannot_even_connect(open_daemon):
    daemon = open_daemon()
    assert stat.S_IMODE(daemon.socket.stat().st_mode) == 0o600
    with pytest.raises(PermissionError):
        with client(daemon, ALICE):
            pass
    with client(daemon, 0) as root:
        assert root.stats().clients == 1


def test_who_has_no_role_is_told_so_at_once(open_daemon):
    daemon = open_daemon(*GRANTS)
    assert stat.S_IMODE(daemon.socket.stat().st_mode) == 0o666
    with client(daemon, ALICE) as stranger:
        refused = refusal(lambda: stranger.finish_unary(1, admin.PingReply()))
        assert f"uid {ALICE} has no role" in refused.message
        with pytest.raises((Closed, ConnectionError)):
            stranger.read_frame()


def test_the_own_directory_can_be_passed_only_with_grants(open_daemon):
    daemon = open_daemon(own_directory=True)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (daemon.socket.parent, daemon.socket)]
    assert modes == [0o700, 0o600]
    reload(daemon, f"grant = uid:{ALICE} observe")
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (daemon.socket.parent, daemon.socket)]
    assert modes == [0o711, 0o666]
    with client(daemon, ALICE) as alice:
        assert alice.stats().clients == 1
    reload(daemon)
    with pytest.raises(PermissionError):
        with client(daemon, ALICE):
            pass


def test_root_may_everything_with_a_daemon_of_another_user(open_daemon):
    daemon = open_daemon(uid=ALICE)
    with client(daemon, ALICE) as own, client(daemon, 0) as root:
        process = own.start("sleep", "1000")
        assert process.uid == ALICE
        for name in OF_AN_OBJECT:
            assert try_method(root, name, process) != "PERMISSION_DENIED", name
        with pytest.raises(PermissionError):
            with client(daemon, BOB):
                pass


def test_each_connection_is_of_who_made_it(open_daemon):
    """Whoever uses it: this process is root's, and nothing it says on a connection makes it more than its maker is."""
    daemon = open_daemon(f"grant = uid:{ALICE} spawn", f"grant = uid:{BOB} observe")
    with client(daemon, ALICE) as alice, client(daemon, BOB) as bob, client(daemon, 0) as root:
        for connected in (alice, bob, root):
            connected.hello()
        assert alice.start("sleep", "1000").uid == ALICE
        refusal(lambda: bob.start("true"))
        refusal(alice.stats)
        connections = {user.uid: next(q.used for q in user.quotas if q.name == "connections") for user in root.stats().users}
        assert connections == {ALICE: 1, BOB: 1, 0: 1}


# ---- every method, every role

@pytest.mark.parametrize("role", ROLES)
def test_every_method_for_every_role(open_daemon, role):
    daemon = open_daemon(*GRANTS)
    with client(daemon, 0) as root, client(daemon, UID[role]) as other:
        process = victim(root)
        root.call("Pools", "Create", pool_request("others"), pools.Pool())
        last = ["Processes.Stop", "Admin.Shutdown"]
        for name in [name for name in NEEDS if name not in last] + last:
            allowed = NEEDS[name] in (NOBODY, FILTERED, role) or role == "admin"
            got = try_method(other, name, process)
            assert (got != "PERMISSION_DENIED") == allowed, f"{role} calls {name}: {got}"
            if allowed and NEEDS[name] in (NOBODY, "spawn", "observe", "admin") and name not in (
                    "Processes.Wait", "Admin.Upgrade"):
                assert got in ("OK", "CANCELLED"), f"{role} calls {name}: {got}"
    if role == "admin":
        assert daemon.process.wait(30) == 0


@pytest.mark.parametrize("role", ROLES)
def test_everything_with_ones_own_processes(open_daemon, role):
    """Whoever may connect: made with the role spawn, which is taken away then."""
    daemon = open_daemon(f"grant = uid:{ALICE} spawn")
    with client(daemon, ALICE) as alice, client(daemon, 0) as root:
        own, others = victim(alice), victim(root)
        assert own.uid == ALICE and os.stat(f"/proc/{own.pid}").st_uid == ALICE
        reload(daemon, f"grant = uid:{ALICE} {role}")
        listed = alice.call("Processes", "List", processes.ListRequest(all=True), processes.ListReply()).processes
        assert {p.id for p in listed} == ({own.id, others.id} if role in ("observe", "admin") else {own.id})
        for name in OF_AN_OBJECT:
            assert try_method(alice, name, own) != "PERMISSION_DENIED", name


def test_events_of_others_need_observe(open_daemon):
    daemon = open_daemon(f"grant = uid:{ALICE} spawn", f"grant = uid:{BOB} observe")
    with client(daemon, ALICE) as alice, client(daemon, BOB) as bob, client(daemon, 0) as root:
        others = root.start("true")
        root.wait(others, closed=True)
        own = alice.start("true")
        alice.wait(own, closed=True)

        def seen(connected, last):
            stream = connected.stream("Events", "Subscribe", events.Event)
            stream.send(events.SubscribeRequest(start=events.SubscribeStart(since_seq=1)))
            found = set()
            for event in stream:
                found.add(event.process)
                if event.process == last.id and event.type == "closed":
                    return found
            return found

        assert seen(alice, own) == {own.id}
        assert seen(bob, own) == {own.id, others.id}


def test_the_program_of_the_daemon_is_chosen_by_its_own_user_alone(open_daemon):
    """Whoever names it is the daemon from then on: that is more than any role."""
    daemon = open_daemon(f"grant = uid:{ALICE} admin")
    request = admin.UpgradeRequest(path=b"/bin/false")
    with client(daemon, ALICE) as alice, client(daemon, 0) as root:
        error = refusal(lambda: alice.call("Admin", "Upgrade", request, admin.UpgradeReply()))
        assert "neither root nor the daemon's own user" in error.message
        with pytest.raises(RpcError) as caught:
            root.call("Admin", "Upgrade", request, admin.UpgradeReply())
        assert caught.value.code == "FAILED_PRECONDITION"


def test_a_blocking_reader_and_signals_on_an_attach_need_signal(open_daemon):
    daemon = open_daemon(f"grant = uid:{ALICE} attach", f"grant = uid:{BOB} attach signal")
    with client(daemon, ALICE) as alice, client(daemon, BOB) as bob, client(daemon, 0) as root:
        process = victim(root)
        blocking = processes.AttachRequest(start=processes.AttachStart(
            process=ttrpc.ref(process), reader=processes.Reader(policy=processes.Reader.POLICY_BLOCK)))
        plain = processes.AttachRequest(start=processes.AttachStart(process=ttrpc.ref(process)))
        probe = processes.AttachRequest(control=processes.ProcessControl(signal=processes.SignalCommand(signal=signal.SIGTERM)))
        stream = alice.stream("Processes", "Attach", processes.ProcessEvent)
        stream.send(blocking)
        refusal(lambda: list(stream))
        stream = alice.stream("Processes", "Attach", processes.ProcessEvent)
        stream.send(plain)
        assert stream.receive().WhichOneof("event") == "spawned"
        stream.send(probe)
        refusal(lambda: list(stream))
        assert root.get(process).state == processes.PROCESS_STATE_RUNNING
        stream = bob.stream("Processes", "Attach", processes.ProcessEvent)
        stream.send(blocking)
        stream.send(probe)
        assert [event.WhichOneof("event") for event in stream][-1] == "closed"


def test_a_group_has_a_role_by_gid_and_by_supplementary_gid(open_daemon):
    daemon = open_daemon(f"grant = gid:{GROUP} observe")
    for who in ({"gid": GROUP}, {"groups": [GROUP]}):
        with client(daemon, ALICE, **who) as alice:
            assert try_method(alice, "Admin.Stats", 1) == "OK"
            assert try_method(alice, "Processes.Start", 1) == "PERMISSION_DENIED"
    with client(daemon, ALICE) as alice:
        refusal(lambda: alice.finish_unary(1, admin.PingReply()))


def test_grants_change_with_sighup_for_new_calls(open_daemon):
    daemon = open_daemon(f"grant = uid:{ALICE} observe")
    with client(daemon, ALICE) as alice:
        assert try_method(alice, "Admin.Stats", 1) == "OK"
        reload(daemon, f"grant = uid:{BOB} admin")
        assert try_method(alice, "Admin.Stats", 1) == "PERMISSION_DENIED"
        assert try_method(alice, "Admin.Ping", 1) == "PERMISSION_DENIED"
        with client(daemon, BOB) as bob:
            assert try_method(bob, "Admin.Metrics", 1) == "OK"
        reload(daemon, f"grant = uid:{ALICE} observe", "grant = uid:nobody admin")
        assert "configuration: " in daemon.log.read_text() and "nothing was changed" in daemon.log.read_text()
        with client(daemon, BOB) as bob:
            assert try_method(bob, "Admin.Metrics", 1) == "OK"


# ---- as whom processes run

def start_as(connected, **ids):
    process = connected.start("sleep", "1000", **ids)
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    return int(fields["Uid"].split()[0]), int(fields["Gid"].split()[0]), {int(g) for g in fields["Groups"].split()}


def test_run_as(open_daemon):
    daemon = open_daemon(f"grant = uid:{ALICE} spawn", f"grant = uid:{BOB} spawn",
                         f"run-as = uid:{ALICE} uid:{CAROL} gid:{GROUP}")
    with client(daemon, ALICE, groups=[61060]) as alice, client(daemon, BOB) as bob, client(daemon, 0) as root:
        assert start_as(alice) == (ALICE, ALICE, {ALICE})
        assert start_as(alice, gid=61060, groups=[61060, ALICE])[1:] == (61060, {61060, ALICE})
        assert start_as(alice, uid=CAROL, gid=GROUP, groups=[GROUP]) == (CAROL, GROUP, {GROUP})
        for connected, ids, field in [(alice, {"uid": 0}, "spec.uid"), (alice, {"uid": BOB}, "spec.uid"), (alice, {"gid": 0}, "spec.gid"),
                                      (alice, {"groups": [ALICE, 0]}, "spec.groups[1]"), (bob, {"uid": CAROL}, "spec.uid"),
                                      (bob, {"gid": GROUP}, "spec.gid"), (bob, {"uid": 0, "gid": 0}, "spec.uid")]:
            error = refusal(lambda: connected.start("true", **ids))
            assert error.detail.field == field, ids
            for name in ("Spawn", "Run"):
                start = {"Spawn": lambda spec: processes.SpawnRequest(start=processes.SpawnStart(spec=spec)),
                         "Run": lambda spec: processes.RunRequest(start=processes.RunStart(spec=spec))}[name]
                stream = connected.stream("Processes", name, processes.ProcessEvent)
                stream.send(start(ttrpc.make_spec("true", **ids)))
                refusal(lambda: list(stream))
        assert start_as(root, uid=BOB, gid=BOB)[:2] == (BOB, BOB)
        reload(daemon, f"grant = uid:{ALICE} spawn")
        refusal(lambda: alice.start("true", uid=CAROL))


def test_a_daemon_without_root_runs_things_as_itself_only_for_who_may_be_it(open_daemon):
    daemon = open_daemon(f"grant = uid:{BOB} spawn", f"grant = uid:{CAROL} spawn", f"run-as = uid:{CAROL} uid:{ALICE}",
                         "allow-foreign-ns = true", uid=ALICE)
    with client(daemon, ALICE) as alice, client(daemon, BOB) as bob, client(daemon, CAROL) as carol:
        assert start_as(alice)[0] == ALICE
        assert refusal(lambda: bob.start("true")).detail.field == "spec.uid"
        assert start_as(carol)[0] == ALICE


def test_what_a_user_may_not_raise(open_daemon):
    daemon = open_daemon(f"grant = uid:{ALICE} spawn")
    with client(daemon, ALICE) as alice:
        with pytest.raises(RpcError) as caught:
            alice.start("true", nice=-10)
        assert (caught.value.code, caught.value.detail.field) == ("PERMISSION_DENIED", "spec.nice")
        alice.start("true", nice=10)
        with pytest.raises(RpcError) as caught:
            alice.start("true", log_file=processes.LogFile(path=b"/etc/spawnd-log"))
        assert caught.value.code == "PERMISSION_DENIED"
        assert not os.path.exists("/etc/spawnd-log")


def test_descriptors_of_a_process_that_its_user_may_not_look_into(open_daemon):
    """One that became a setuid program is shown as root's by the kernel; here it only says that it is not dumpable."""
    daemon = open_daemon(f"grant = uid:{ALICE} spawn")
    for dumpable in (True, False):
        with client(daemon, ALICE, dumpable=dumpable) as alice:
            fd = ttrpc.stdio(1, ttrpc.FD, fd=processes.FdSpec(number=2))
            if dumpable:
                assert alice.start("true", stdio=[fd]).uid == ALICE
                continue
            with pytest.raises(RpcError) as caught:
                alice.start("true", stdio=[fd])
            assert caught.value.code == "FAILED_PRECONDITION" and "does not let its user look into it" in caught.value.message


# ---- namespaces and no_new_privs

@pytest.mark.parametrize("name,flag", [("mount", users.CLONE_NEWNS), ("pid", users.CLONE_NEWPID), ("user", users.CLONE_NEWUSER)])
def test_a_client_of_another_namespace_is_refused(open_daemon, name, flag):
    daemon = open_daemon()
    with client(daemon, 0, unshare=flag) as far:
        for method in ("Processes.Start", "Processes.List", "Admin.Stats"):
            error = refusal(lambda: far.call(*method.split("."), request_for(method, 1), message_class(METHODS[method].output_type)()))
            assert f"another {name} namespace" in error.message and "--allow-foreign-ns" in error.message
        assert try_method(far, "Admin.Ping", 1) == "OK"
    granting = open_daemon(f"grant = uid:{ALICE} admin")
    for uid in (0, ALICE) if flag != users.CLONE_NEWUSER else (0,):  # in a new user namespace nobody becomes another user
        with client(granting, uid, unshare=flag) as far:
            error = refusal(lambda: far.call("Processes", "List", processes.ListRequest(), processes.ListReply()))
            assert f"another {name} namespace" in error.message
    allowing = open_daemon(args=["--allow-foreign-ns"])
    with client(allowing, 0, unshare=flag) as far:
        assert try_method(far, "Processes.Start", 1) == "OK"
        assert try_method(far, "Processes.List", 1) == "OK"


def test_children_of_a_client_with_no_new_privs_have_it(open_daemon):
    daemon = open_daemon(f"grant = uid:{ALICE} spawn")

    def of(connected):
        process = connected.start("sleep", "1000")
        lines = pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines()
        return next(line.split()[1] for line in lines if line.startswith("NoNewPrivs"))

    for uid in (0, ALICE):
        with client(daemon, uid) as free, client(daemon, uid, no_new_privs=True) as bound:
            assert (of(free), of(bound)) == ("0", "1")


# ---- audit

def test_audit_tells_who_asked_what_of_what(open_daemon):
    daemon = open_daemon(f"grant = uid:{ALICE} spawn", f"grant = uid:{BOB} admin", f"grant = uid:{CAROL} observe")
    with client(daemon, ALICE) as alice, client(daemon, BOB) as bob, client(daemon, CAROL) as carol, client(daemon, 0) as root:
        others = victim(root)
        own = alice.start("sleep", "1000")
        alice.call("Processes", "Signal", processes.SignalRequest(process=ttrpc.ref(own), signal=0), processes.KillReply())
        refusal(lambda: alice.get(others))
        refusal(lambda: carol.start("true"))
        refusal(lambda: alice.start("true", uid=0))
        with client(daemon, 61099) as stranger:
            refusal(lambda: stranger.finish_unary(1, admin.PingReply()))
        stream = bob.stream("Events", "Subscribe", events.Event)
        stream.send(events.SubscribeRequest(start=events.SubscribeStart(since_seq=1, types=["audit"])))
        told = []
        for event in stream:
            told.append((event.audit.uid, event.audit.method, event.process, event.audit.refused))
            if event.audit.method == "connect":
                break
        assert told == [
            (0, "Start", others.id, False), (ALICE, "Start", own.id, False), (ALICE, "Signal", own.id, False),
            (ALICE, "Get", others.id, True), (CAROL, "Start", 0, True), (ALICE, "Start", 0, True), (61099, "connect", 0, True)]
        for connected in (alice, carol):
            stream = connected.stream("Events", "Subscribe", events.Event)
            stream.send(events.SubscribeRequest(start=events.SubscribeStart(since_seq=1, types=["audit"])))
            refusal(lambda: list(stream))
        unasked = bob.stream("Events", "Subscribe", events.Event)
        unasked.send(events.SubscribeRequest(start=events.SubscribeStart(since_seq=1)))
        assert unasked.receive().type == "spawned"
    log = daemon.log.read_text()
    assert f"audit: Start by uid {ALICE}, pid" in log and f"audit: refused Get to uid {ALICE}" in log
    assert "audit: refused connect to uid 61099" in log


def test_a_flood_of_refusals_is_no_flood_of_events(open_daemon):
    daemon = open_daemon(f"grant = uid:{ALICE} observe")
    with client(daemon, ALICE) as alice, client(daemon, 0) as root:
        process = victim(root)
        for _ in range(2000):
            refusal(lambda: alice.call("Processes", "Remove", processes.RemoveRequest(process=ttrpc.ref(process)), processes.RemoveReply()))
        stream = root.stream("Events", "Subscribe", events.Event)
        stream.send(events.SubscribeRequest(start=events.SubscribeStart(since_seq=1)))
        assert stream.receive().type == "spawned"
        text = root.call("Admin", "Metrics", admin.MetricsRequest(), admin.MetricsReply()).text
        assert "spawnd_refused_total 2000\n" in text
