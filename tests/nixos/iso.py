machine.start()
machine.wait_for_unit("multi-user.target")

with subtest("the machine becomes what its command line says, a whole node"):
    machine.wait_for_unit("daiic-role.service")
    machine.wait_for_unit("daiic-head.service")
    machine.wait_for_unit("daiic-worker.service")
    machine.wait_until_succeeds("daiic status --json | grep --quiet '\"workers\": *\\[ *{'")

with subtest("nobody gets in over the network with a password"):
    machine.succeed("sshd -T | grep --quiet '^passwordauthentication no'")
    machine.fail("grep --extended-regexp '^(root|daiic):[^!*:]' /etc/shadow")

with subtest("a developer finds the toolchain and the source"):
    machine.succeed(
        "cargo --version", "rust-analyzer --version", "python3 --version", "git --version"
    )
    machine.succeed("sudo -u daiic test -w /home/daiic/daiic/flake.nix")
