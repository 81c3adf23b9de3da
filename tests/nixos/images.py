"""The container images serve as an unprivileged user, without capabilities, on a read-only root."""

RUN = "podman run --detach --network host --read-only --cap-drop all --tmpfs /tmp"

machine.start()
machine.wait_for_unit("multi-user.target")

with subtest("the images load"):
    for image in ("mesh-head", "mesh-worker-cpu", "mesh-shim", "hydramesh-runtime"):
        machine.succeed(f"/etc/images/{image} | podman load")

with subtest("a head, a worker and a shim serve"):
    # Loopback needs no key, and these three share it.
    for name, udp, http in (("head", 7717, 7718), ("worker-cpu", 7727, 7728), ("shim", 7737, 7738)):
        machine.succeed(
            f"{RUN} --name {name} --volume {name}:/cache"
            f" --env DAIIC_LISTEN=127.0.0.1:{udp} --env DAIIC_HEADS=127.0.0.1:7717"
            f" $(podman images --format '{{{{.Repository}}}}:{{{{.Tag}}}}' | grep mesh-{name})"
        )
        machine.wait_until_succeeds(f"curl --fail --silent http://127.0.0.1:{http}/healthz")
        process = machine.succeed(f"podman inspect --format '{{{{.State.Pid}}}}' {name}").strip()
        status = machine.succeed(f"cat /proc/{process}/status")
        assert "Uid:\t10001" in status
        assert "CapEff:\t0000000000000000" in status

with subtest("HydraMesh serves beside them"):
    machine.succeed(
        f"{RUN} --name hydramesh --volume hydramesh:/state"
        " --env DAIIC_LISTEN=127.0.0.1:7747 --env DAIIC_HTTP_LISTEN=127.0.0.1:7748"
        " localhost/alh477/hydramesh:runtime"
    )
    machine.wait_until_succeeds("curl --fail --silent http://127.0.0.1:7748/healthz")

with subtest("their health check says that they are well"):
    for name in ("head", "worker-cpu", "shim", "hydramesh"):
        machine.wait_until_succeeds(f"podman healthcheck run {name}")
