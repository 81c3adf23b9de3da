# Writes an evaluated `systemd.services` or `systemd.paths` entry as the unit file that NixOS would make of it.
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

  environment =
    service:
    lib.optionalAttrs (service.path != [ ]) { PATH = lib.makeBinPath service.path; }
    // service.environment;

  names = key: units: lib.optionalString (units != [ ]) (line key (toString units));
in
{
  service = service: ''
    [Unit]
    ${line "Description" service.description}${names "Wants" service.wants}${
      names "After" service.after
    }${line "StartLimitIntervalSec" service.startLimitIntervalSec}${
      names "X-Reload-Triggers" service.reloadTriggers
    }${section service.unitConfig}
    [Service]
    ${
      lib.concatMapAttrsStringSep "" (
        name: value: "Environment=${builtins.toJSON "${name}=${value}"}\n"
      ) (environment service)
    }${section service.serviceConfig}
    [Install]
    ${names "WantedBy" service.wantedBy}'';

  path = path: ''
    [Unit]
    ${line "Description" path.description}${names "PartOf" path.partOf}${names "Before" path.before}
    [Path]
    ${section path.pathConfig}'';
}
