# Writes an evaluated `systemd.services` entry as the unit file that NixOS would make of it.
{ lib }:
let
  scalar =
    value:
    if value == true then
      "true"
    else if value == false then
      "false"
    else
      toString value;

  line = key: value: "${key}=${scalar value}\n";

  section = lib.concatMapAttrsStringSep "" (
    key: value: if builtins.isList value then lib.concatMapStrings (line key) value else line key value
  );

  names = key: units: lib.optionalString (units != [ ]) (line key (toString units));
in
service: ''
  [Unit]
  ${line "Description" service.description}${names "Wants" service.wants}${
    names "After" service.after
  }${line "StartLimitIntervalSec" service.startLimitIntervalSec}
  [Service]
  ${
    lib.concatMapAttrsStringSep "" (
      name: value: "Environment=${builtins.toJSON "${name}=${value}"}\n"
    ) service.environment
  }${section service.serviceConfig}
  [Install]
  WantedBy=${toString service.wantedBy}
''
