# The container images load and serve under podman, unprivileged and with a read-only root.
{ testers, images }:
testers.runNixOSTest {
  name = "images";

  nodes.machine = {
    virtualisation = {
      podman.enable = true;
      memorySize = 4096;
      diskSize = 16384;
    };
    environment.etc = {
      "images/mesh-head".source = images.mesh-head;
      "images/mesh-shim".source = images.mesh-shim;
      "images/mesh-worker-cpu".source = images.mesh-worker-cpu;
      "images/hydramesh-runtime".source = images.hydramesh-runtime;
    };
  };

  testScript = builtins.readFile ./images.py;
}
