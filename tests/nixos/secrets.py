"""Keys and tokens reach the daemons that need them, and nobody else."""

TOKEN = "hf_ThisIsTheTokenOfTheTest"
UNITS = "daiic-head.service daiic-worker.service daiic-gateway.service"

machine.start()

with subtest("without its key a daemon does not start, and goes on trying"):
    machine.wait_until_succeeds(
        "test $(systemctl show --value --property=NRestarts daiic-head.service) -ge 1"
    )
    machine.fail(f"systemctl is-active --quiet {UNITS}")

with subtest("with its key it starts"):
    machine.succeed(
        "daiic keygen /var/lib/cluster-key",
        "daiic apikey create --file /var/lib/api-keys first > /root/first",
        f"install --mode=600 /dev/null /var/lib/hf-token; echo {TOKEN} > /var/lib/hf-token",
        f"systemctl restart {UNITS}",
    )
    for unit in UNITS.split():
        machine.wait_for_unit(unit)
    machine.wait_until_succeeds(
        "daiic status --json --key-file /var/lib/cluster-key | grep daiic-tiny-chat", timeout=120
    )

with subtest("an API key made or revoked while the gateway runs counts at once"):
    ask = "curl -sS -o /dev/null -w '%{http_code}' localhost:7700/v1/models -H"
    asked = {
        name: f'test "$({ask} "Authorization: Bearer $(cat /root/{name})")" ='
        for name in ("first", "second")
    }
    machine.wait_until_succeeds(f"{asked['first']} 200", timeout=30)
    machine.succeed("daiic apikey create --file /var/lib/api-keys second > /root/second")
    machine.wait_until_succeeds(f"{asked['second']} 200", timeout=30)
    machine.succeed("daiic apikey revoke --file /var/lib/api-keys first")
    machine.wait_until_succeeds(f"{asked['first']} 401", timeout=30)
    machine.succeed(f"{asked['second']} 200", "systemctl restart daiic-gateway.service")
    machine.wait_until_succeeds(f"{asked['second']} 200", timeout=30)
    machine.succeed("daiic apikey revoke --file /var/lib/api-keys second")
    machine.wait_until_succeeds(f"{asked['second']} 401", timeout=30)

with subtest("a machine with another key, or none, gets no answer"):
    machine.succeed("daiic keygen /root/another-key")
    machine.fail("daiic status --json --key-file /root/another-key", timeout=120)
    machine.fail("daiic status --json", timeout=120)

with subtest("other users cannot read the secrets"):
    other = "setpriv --reuid=65534 --regid=65534 --clear-groups"
    for secret in ("cluster-key", "hf-token"):
        path = f"/run/credentials/daiic-worker.service/{secret}"
        machine.succeed(f"test -s {path}")
        machine.fail(f"{other} cat {path}", f"{other} cat /var/lib/{secret}")
    machine.succeed("test -s /run/daiic-gateway/api-keys")
    machine.fail(f"{other} cat /run/daiic-gateway/api-keys", f"{other} cat /var/lib/api-keys")

with subtest("the token is in no unit, settings file, environment, command line or journal"):
    key = machine.succeed("cat /var/lib/cluster-key").split()[-1]
    for secret in (TOKEN, key):
        machine.fail(f"systemctl cat {UNITS} | grep --fixed-strings '{secret}'")
        machine.fail(f"systemctl show {UNITS} | grep --fixed-strings '{secret}'")
        machine.fail(
            "for settings in $(systemctl show --value --property=ExecStart daiic-head daiic-worker"
            f" | grep --only-matching '/[^ ]*\\.toml'); do cat $settings; done | grep -F '{secret}'"
        )
        for unit in UNITS.split():
            pid = machine.get_unit_property(unit, "MainPID")
            for file in ("environ", "cmdline"):
                machine.fail(
                    f"tr '\\0' '\\n' < /proc/{pid}/{file} | grep --fixed-strings '{secret}'"
                )
        machine.fail(f"journalctl --boot --unit 'daiic-*' | grep --fixed-strings '{secret}'")
