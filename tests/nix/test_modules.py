"""Promises of the NixOS modules, checked on machines made of them."""

import re
import tomllib
from typing import Any

import pytest

from nix.evaluation import configuration, evaluation, unit

ROLES = ("head", "hydramesh", "worker", "gateway", "shim", "programs")


def settings(name: str, role: str) -> dict[str, Any]:
    return tomllib.loads(configuration(name)["settings"][f"{role}.toml"])


def test_nothing_happens_on_a_machine_that_enables_nothing() -> None:
    machine = configuration("nothing-enabled")
    assert machine["units"] == {}
    assert machine["packages"] == []
    assert machine["assertions"] == machine["warnings"] == []


def test_one_line_worker_is_a_complete_node() -> None:
    machine = configuration("one-line-worker")
    assert sorted(machine["units"]) == ["daiic-head.service", "daiic-worker.service"]
    assert machine["assertions"] == machine["warnings"] == []
    assert settings("one-line-worker", "worker")["heads"] == [
        settings("one-line-worker", "head")["listen"]
    ]
    assert machine["firewall"] == {
        "allowedTCPPorts": [],
        "allowedUDPPorts": [],
        "interfaces": {},
    }


def test_one_line_worker_is_protected_and_sandboxed() -> None:
    worker = unit("one-line-worker", "worker")
    for key, value in {
        "OOMScoreAdjust": "-500",
        "ProtectSystem": "strict",
        "PrivateTmp": "true",
        "Type": "notify",
        "NoNewPrivileges": "true",
        "DynamicUser": "true",
        "Restart": "on-failure",
    }.items():
        assert worker[key] == [value], key
    assert "WatchdogSec" in worker
    assert worker["ExecStart"] == ["/opt/daiic/bin/daiic-worker --config /etc/daiic/worker.toml"]


def test_only_the_worker_is_spared_by_the_oom_killer() -> None:
    for role in ROLES:
        assert ("OOMScoreAdjust" in unit("all-roles", role)) == (role == "worker")


def test_every_role_says_when_it_is_ready_and_is_watched() -> None:
    for role in ROLES:
        lines = unit("all-roles", role)
        assert lines["Type"] == ["notify"]
        assert lines["WatchdogSec"]
        assert lines["StartLimitIntervalSec"] == ["0"]


def test_every_option_is_described_and_set_by_some_configuration() -> None:
    options = evaluation()["options"]
    assert len(options) > 40
    assert [option["name"] for option in options if not option["described"]] == []
    exercised = {
        name
        for machine in evaluation()["configurations"].values()
        for name in machine["optionsSet"]
    }
    assert {option["name"] for option in options} - exercised == set()


@pytest.mark.parametrize(
    ("role", "key", "value"),
    [
        ("head", "listen", "0.0.0.0:9717"),
        ("head", "http_listen", "127.0.0.1:9718"),
        ("head", "worker_timeout", 7.5),
        ("head", "queue_size", 99),
        ("head", "allow_unauthenticated", False),
        ("head", "cluster_key_file", "/run/credentials/daiic-head.service/cluster-key"),
        ("head", "log_level", "debug"),
        ("hydramesh", "listen", "0.0.0.0:9747"),
        ("hydramesh", "http_listen", "127.0.0.1:9748"),
        ("hydramesh", "worker_timeout", 12.5),
        ("hydramesh", "queue_size", 77),
        ("hydramesh", "allow_unauthenticated", False),
        ("hydramesh", "cluster_key_file", "/run/credentials/daiic-hydramesh.service/cluster-key"),
        ("hydramesh", "storage", "streamdb"),
        ("hydramesh", "hedge_share", 0.05),
        ("hydramesh", "peers", ["10.0.0.5:7717"]),
        ("hydramesh", "policy", "/etc/daiic/hydramesh.policy"),
        ("hydramesh", "state_dir", "/var/lib/daiic-hydramesh"),
        ("hydramesh", "repl_socket", "/run/daiic-hydramesh/repl"),
        ("hydramesh", "log_level", "debug"),
        ("programs", "domain_listen", "0.0.0.0:9720"),
        ("programs", "domain_peers", ["10.0.0.6:7720"]),
        ("programs", "heads", ["10.0.0.1:7717"]),
        ("programs", "allow_unauthenticated", False),
        ("programs", "cluster_key_file", "/run/credentials/daiic-programs.service/cluster-key"),
        ("programs", "state_dir", "/var/lib/daiic-programs"),
        ("programs", "log_level", "debug"),
        ("worker", "backend", "rocm"),
        ("worker", "gpus", ["0000:41:00.0"]),
        ("worker", "heads", ["10.0.0.1:7717", "[fd00::2]:7717"]),
        ("worker", "listen", "0.0.0.0:9727"),
        ("worker", "http_listen", ""),
        ("worker", "models", ["org/model"]),
        ("worker", "models_dir", "/srv/models"),
        ("worker", "engine", "vllm"),
        ("worker", "quantization", "8bit"),
        ("worker", "ram_offload", False),
        ("worker", "hf_token_file", "/run/credentials/daiic-worker.service/hf-token"),
        ("worker", "cluster_key_file", "/run/credentials/daiic-worker.service/cluster-key"),
        ("worker", "slots", 8),
        ("worker", "shard", True),
        ("worker", "shard_listen", "0.0.0.0:9729"),
        ("worker", "shard_interface", "wg0"),
        ("gateway", "listen", "0.0.0.0:9700"),
        ("gateway", "state_dir", "/var/lib/daiic-gateway"),
        ("gateway", "http_listen", "127.0.0.1:9701"),
        ("gateway", "heads", ["10.0.0.1:7717"]),
        ("gateway", "api_keys_file", "/run/daiic-gateway/api-keys"),
        ("gateway", "cors_origins", ["https://chat.example.org"]),
        (
            "gateway",
            "oidc_client_secret_file",
            "/run/credentials/daiic-gateway.service/oidc-client-secret",
        ),
        ("gateway", "oidc_issuer", "https://login.example.org"),
        ("shim", "listen", "0.0.0.0:9737"),
        ("shim", "http_listen", "127.0.0.1:9738"),
        ("shim", "heads", ["10.0.0.1:7717"]),
        ("shim", "client_key_file", "/run/credentials/daiic-shim.service/client-key"),
        ("shim", "allowed_networks", ["192.168.0.0/16"]),
    ],
)
def test_option_reaches_the_settings_file(role: str, key: str, value: object) -> None:
    assert configuration("every-option")["assertions"] == []
    assert settings("every-option", role)[key] == value


def test_settings_win_over_options() -> None:
    assert settings("settings-win", "worker")["quantization"] == "none"


def test_vllm_is_found_and_may_look_for_its_interface() -> None:
    worker = unit("every-option", "worker")
    assert any("PATH=" in line and "/opt/vllm-rocm/bin" in line for line in worker["Environment"])
    assert "AF_NETLINK" in worker["RestrictAddressFamilies"]
    assert "AF_NETLINK" not in unit("one-line-worker", "worker")["RestrictAddressFamilies"]


def test_worker_options_that_systemd_keeps() -> None:
    worker = unit("every-option", "worker")
    assert worker["MemoryMax"] == ["48G"]
    assert '"HSA_OVERRIDE_GFX_VERSION=10.3.0"' in worker["Environment"]


def test_secrets_are_handed_over_by_systemd() -> None:
    assert unit("every-option", "head")["LoadCredential"] == [
        "cluster-key:/run/secrets/heads-own-key"
    ]
    assert unit("every-option", "hydramesh")["LoadCredential"] == [
        "cluster-key:/run/secrets/hydrameshs-own-key"
    ]
    assert unit("every-option", "worker")["LoadCredential"] == [
        "cluster-key:/run/secrets/workers-own-key",
        "hf-token:/run/secrets/hf-token",
    ]
    assert unit("every-option", "gateway")["LoadCredential"] == [
        "api-keys:/run/secrets/api-keys",
        "cluster-key:/run/secrets/gateways-own-key",
        "oidc-client-secret:/run/secrets/oidc",
    ]
    assert unit("every-option", "shim")["LoadCredential"] == [
        "client-key:/run/secrets/client-key",
        "cluster-key:/run/secrets/shims-own-key",
    ]


def test_a_change_of_the_api_keys_reaches_the_running_gateway() -> None:
    units = configuration("every-option")["units"]
    assert "PathChanged=/run/secrets/api-keys\n" in units["daiic-gateway-keys.path"]
    gateway, renewal = unit("every-option", "gateway"), unit("every-option", "gateway-keys")
    assert renewal["LoadCredential"] == ["api-keys:/run/secrets/api-keys"]
    assert renewal["ExecStart"] == gateway["ExecStartPre"]
    assert "daiic-gateway-keys.path" in gateway["Wants"][0].split()
    assert renewal["User"] == ["daiic-gateway"]
    assert renewal["DynamicUser"] == gateway["DynamicUser"] == ["true"]
    copied_to = gateway["ExecStartPre"][-1].split()[-1]
    assert settings("every-option", "gateway")["api_keys_file"] == copied_to


def test_token_given_as_text_works_and_warns() -> None:
    machine = configuration("token-in-the-store")
    assert machine["assertions"] == []
    assert len(machine["warnings"]) == 1
    assert "services.daiic.worker.hfTokenFile" in machine["warnings"][0]
    (credential,) = unit("token-in-the-store", "worker")["LoadCredential"]
    assert credential.startswith("hf-token:/nix/store/")
    assert "hf_example" not in str(machine["units"]) + str(machine["settings"])


def test_firewall_opens_what_was_asked_for() -> None:
    assert configuration("every-option")["firewall"] == {
        "allowedTCPPorts": ["9700", "9729"],
        "allowedUDPPorts": ["9717", "9720", "9727", "9737", "9747"],
        "interfaces": {
            "wg0": {
                "allowedTCPPortRanges": [{"from": 32768, "to": 60999}],
                "allowedUDPPorts": [],
            },
            **{
                f"thunderbolt{number}": {"allowedTCPPortRanges": [], "allowedUDPPorts": ["7719"]}
                for number in range(4)
            },
        },
    }


def test_cables_are_set_up_where_a_role_uses_them() -> None:
    cables = configuration("every-option")["cables"]
    assert "thunderbolt-net" in cables["kernelModules"] and cables["bolt"]
    assert cables["udev"] == (
        'ACTION=="add", SUBSYSTEM=="net", KERNEL=="thunderbolt*", '
        'RUN+="/usr/bin/ip link set dev %k up"\n'
    )
    (link,) = cables["links"]
    assert link["matchConfig"] == {"OriginalName": "thunderbolt*"}
    assert link["linkConfig"]["MTUBytes"] == "65520"
    (network,) = cables["networks"]
    assert network["networkConfig"]["LinkLocalAddressing"] == "ipv6"
    assert cables["leftAlone"] == ["interface-name:thunderbolt*", "thunderbolt*"]
    for role in ("hydramesh", "worker"):
        assert settings("every-option", role)["usb4_enabled"] is True
    environment = unit("every-option", "worker")["Environment"]
    assert '"DAIIC_LIBDCF=/opt/daiic/lib/libdcf.so"' in environment


def test_nothing_is_done_about_cables_where_no_role_uses_them() -> None:
    cables = configuration("all-roles")["cables"]
    assert not cables["bolt"] and "thunderbolt-net" not in cables["kernelModules"]
    assert not (cables["links"] or cables["networks"] or cables["udev"] or cables["leftAlone"])
    assert settings("all-roles", "hydramesh")["usb4_enabled"] is False
    assert "DAIIC_LIBDCF" not in str(unit("all-roles", "worker"))


def test_advertised_head_is_found_by_mdns() -> None:
    announced = configuration("every-option")["avahi"]
    for head, port in (("head", 9717), ("hydramesh", 9747)):
        assert f"DAIIC {head} on %h" in announced[f"daiic-{head}"]
        assert "<type>_daiic._udp</type>" in announced[f"daiic-{head}"]
        assert f"<port>{port}</port>" in announced[f"daiic-{head}"]


def test_hydramesh_takes_the_place_of_the_other_head() -> None:
    assert configuration("hydramesh-alone")["assertions"] == []
    assert "daiic-head.service" not in configuration("hydramesh-alone")["units"]
    for role in ("worker", "gateway", "shim"):
        assert settings("hydramesh-alone", role)["heads"] == ["127.0.0.1:7717"]
    assert "daiic-hydramesh.service" in unit("hydramesh-alone", "worker")["After"][0].split()


def test_programs_are_run_from_the_store_with_the_heads_of_the_machine() -> None:
    written = settings("every-option", "programs")["programs"].split(":")
    assert [path.rpartition("-")[2] for path in written] == ["greenhouse.lisp", "room.lisp"]
    assert all(path.startswith("/nix/store/") for path in written)
    lines = unit("all-roles", "programs")
    assert lines["ExecStart"][0].split()[1] == "run"
    assert settings("all-roles", "programs")["heads"] == ["127.0.0.1:7717", "127.0.0.1:7747"]
    assert settings("all-roles", "programs")["domain_listen"] == ""


def test_both_heads_of_a_machine_are_used() -> None:
    for role in ("worker", "gateway", "shim"):
        assert settings("all-roles", role)["heads"] == ["127.0.0.1:7717", "127.0.0.1:7747"]


def test_streamdb_is_given_where_it_is_asked_for() -> None:
    assert unit("every-option", "hydramesh")["Environment"] == [
        '"HYDRAMESH_LIBSTREAMDB=/usr/lib/libstreamdb.so"'
    ]
    assert "Environment" not in unit("all-roles", "hydramesh")


def test_head_can_be_looked_into_only_where_that_is_asked_for() -> None:
    assert settings("all-roles", "hydramesh")["repl_socket"] == ""
    assert "RuntimeDirectory" not in unit("all-roles", "hydramesh")
    hydramesh = unit("every-option", "hydramesh")
    assert hydramesh["RuntimeDirectory"] == ["daiic-hydramesh"]
    assert hydramesh["RuntimeDirectoryMode"] == ["0700"]


def test_policy_is_checked_when_the_machine_is_built_and_reloaded_when_it_changes() -> None:
    machine = configuration("policy-as-text")
    assert machine["assertions"] == []
    file = machine["etc"]["daiic/hydramesh.policy"]
    check, copy = file["command"].splitlines()
    assert check == '/opt/daiic/bin/hydramesh policy check "$policy"'
    assert copy == 'cp "$policy" "$out"'
    assert settings("policy-as-text", "hydramesh")["policy"] == "/etc/daiic/hydramesh.policy"
    hydramesh = unit("policy-as-text", "hydramesh")
    assert hydramesh["X-Reload-Triggers"] == [file["path"]]
    assert hydramesh["ExecReload"] == ["/usr/bin/kill -HUP $MAINPID"]
    # What is in the policy is not in the unit, which would be restarted when that changes.
    given = configuration("every-option")["etc"]["daiic/hydramesh.policy"]
    # A file may have any name, and the store allows only some.
    assert given["policy"].endswith("-hydramesh.policy")


def test_head_without_a_policy_has_none_to_reload() -> None:
    assert settings("all-roles", "hydramesh")["policy"] == ""
    assert "ExecReload" not in unit("all-roles", "hydramesh")
    assert configuration("all-roles")["etc"] == {}


@pytest.mark.parametrize(
    ("machine", "package", "devices"),
    [
        ("one-line-worker", "daiic-worker", []),
        ("auto-nvidia", "daiic-worker-cuda", ["nvidia"]),
        ("auto-amd", "daiic-worker-rocm", ["drm", "kfd"]),
        ("cuda", "daiic-worker-cuda", ["nvidia"]),
        ("cpu-on-nvidia", "daiic-worker", []),
        ("vulkan", "daiic-worker-vulkan", ["drm"]),
        ("vulkan-on-nvidia", "daiic-worker-vulkan", ["drm", "nvidia"]),
        ("every-option", "daiic-worker-rocm", ["drm", "kfd"]),
    ],
)
def test_worker_gets_its_vendors_build_and_devices_only(
    machine: str, package: str, devices: list[str]
) -> None:
    assert package in configuration(machine)["packages"]
    worker = unit(machine, "worker")
    assert worker["DevicePolicy"] == ["closed"]
    allowed = worker.get("DeviceAllow", [])
    assert {re.sub(r"^char-(nvidia|drm|kfd).*", r"\1", device) for device in allowed} == set(
        devices
    )
    assert worker["PrivateDevices"] == (["false"] if devices else ["true"])
    assert ("SupplementaryGroups" in worker) == ("drm" in devices)
    assert configuration(machine)["driverLibraries"] == bool(devices)


def test_llama_cpp_of_ones_own_runs_gguf_models() -> None:
    assert settings("packages-named", "worker")["llama_server"] == (
        "/opt/llama-cpp/bin/llama-server"
    )
    assert "llama_server" not in settings("one-line-worker", "worker")


def test_worker_of_other_machines_heads_listens_where_they_can_answer() -> None:
    assert settings("remote-heads", "worker")["listen"] == "0.0.0.0:7727"
    assert sorted(configuration("remote-heads")["units"]) == ["daiic-worker.service"]


def test_local_worker_reaches_a_head_that_listens_everywhere() -> None:
    assert settings("head-on-every-address", "worker")["heads"] == ["[::1]:7717"]


def test_stop_waits_for_the_drain() -> None:
    assert unit("slow-drain", "head")["TimeoutStopSec"] == ["135s"]


@pytest.mark.parametrize(
    ("mistake", "advice"),
    [
        ("head-open-without-key", "daiic keygen FILE"),
        ("hydramesh-open-without-key", "daiic keygen FILE"),
        ("programs-open-without-key", "daiic keygen FILE"),
        ("no-programs", "services.daiic.programs.files = [ ./greenhouse.lisp ]"),
        ("programs-with-peers-and-no-port", "services.daiic.programs.listen"),
        ("policy-outside-the-store", "such as ./office.policy"),
        ("cable-without-key", "services.daiic.hydramesh.allowUnauthenticated = true"),
        ("policy-in-quotation-marks", "such as ./office.policy"),
        ("worker-open-without-key", "daiic keygen FILE"),
        ("gateway-heads-without-key", "services.daiic.clusterKeyFile"),
        ("shim-heads-without-key", "services.daiic.clusterKeyFile"),
        ("gateway-without-head", 'services.daiic.gateway.heads = [ "10.0.0.1:7717" ]'),
        ("shim-without-head", 'services.daiic.shim.heads = [ "10.0.0.1:7717" ]'),
        ("gateway-public-without-api-keys", "services.daiic.gateway.apiKeysFile"),
        ("shim-public-without-client-key", "services.daiic.shim.clientKeyFile"),
        ("advertised-loopback", 'services.daiic.head.listen = "0.0.0.0:7717"'),
        ("both-tokens", "Remove hfToken"),
        ("worker-listens-on-loopback-only", 'Set it to "0.0.0.0:7727"'),
        ("cuda-without-driver", 'services.xserver.videoDrivers = [ "nvidia" ]'),
        ("cuda-without-unfree", "nixpkgs.config.allowUnfree = true"),
        ("rocm-without-driver", 'boot.kernelModules = [ "amdgpu" ]'),
        ("models-in-home", "/srv/models"),
        ("two-roles-on-one-port", "UDP port 7717"),
        ("two-heads-on-one-port", "UDP port 7717"),
        ("two-roles-on-one-http-port", "TCP port 7728"),
    ],
)
def test_mistake_is_refused_with_advice(mistake: str, advice: str) -> None:
    (message,) = configuration(f"mistake-{mistake}")["assertions"]
    assert advice in message
    assert message.startswith("services.daiic.")


def test_what_is_left_open_on_purpose_is_not_refused() -> None:
    assert configuration("mistake-open-on-purpose")["assertions"] == []


def test_only_mistakes_are_refused() -> None:
    refused = {
        name for name, machine in evaluation()["configurations"].items() if machine["assertions"]
    }
    assert all(name.startswith("mistake-") for name in refused), refused
