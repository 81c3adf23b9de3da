# `nix run .#demo`: a head and two workers on loopback, a text and an image prompt, and the messages they took.
{ pkgs }:
pkgs.writeShellApplication {
  name = "daiic-demo";
  runtimeInputs = [ pkgs.daiic-worker ];
  text = ''exec daiic demo --models-dir ${pkgs.daiic-worker}/share/daiic/local-models "$@"'';
}
