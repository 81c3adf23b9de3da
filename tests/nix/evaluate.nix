# Evaluates machines with a module system and DAIIC's modules, and tells what becomes of each: its units,
# settings files, open ports, failed assertions, warnings, and which of DAIIC's options it sets.
{
  lib,
  examples ? [ ],
}:
let
  unitText = import ./unit_text.nix { inherit lib; };

  # Flat tables of strings, numbers, booleans and lists of them: each JSON value is a TOML value.
  tomlText = lib.concatMapAttrsStringSep "" (key: value: "${key} = ${builtins.toJSON value}\n");

  isSet = option: option.highestPrio < (lib.mkOptionDefault { }).priority;

  base = [
    ./nixos_surface.nix
    ../../modules
    { _module.args.pkgs = lib.mkDefault (import ./packages.nix { inherit lib; }); }
  ];

  evaluate =
    machine:
    let
      system = lib.evalModules {
        modules = base ++ [ machine ];
      };
      inherit (system) config;
      roles = lib.filterAttrs (_: role: role.enable or false) config.services.daiic;
    in
    {
      assertions = map (assertion: assertion.message) (
        builtins.filter (assertion: !assertion.assertion) config.assertions
      );
      inherit (config) warnings;
      units =
        lib.mapAttrs' (
          name: service: lib.nameValuePair "${name}.service" (unitText.service service)
        ) config.systemd.services
        // lib.mapAttrs' (
          name: path: lib.nameValuePair "${name}.path" (unitText.path path)
        ) config.systemd.paths;
      settings = lib.mapAttrs' (
        name: role: lib.nameValuePair "${name}.toml" (tomlText role.settings)
      ) roles;
      etc = lib.mapAttrs (_: file: {
        inherit (file.source) command;
        path = file.source.outPath;
        policy = toString file.source.environment.policy;
      }) config.environment.etc;
      firewall = config.networking.firewall;
      cables = {
        inherit (config.boot) kernelModules;
        bolt = config.services.hardware.bolt.enable;
        udev = config.services.udev.extraRules;
        links = builtins.attrValues config.systemd.network.links;
        networks = builtins.attrValues config.systemd.network.networks;
        leftAlone = config.networking.networkmanager.unmanaged ++ config.networking.dhcpcd.denyInterfaces;
      };
      avahi = lib.optionalAttrs config.services.avahi.enable config.services.avahi.extraServiceFiles;
      packages = map (package: package.name) config.environment.systemPackages;
      driverLibraries = config.hardware.graphics.enable;
      inherit (config.virtualisation) memorySize cores;
      optionsSet = lib.pipe system.options.services.daiic [
        (lib.collect lib.isOption)
        (builtins.filter isSet)
        (map (option: lib.showOption option.loc))
      ];
    };
in
{
  configurations = lib.mapAttrs (_: evaluate) (import ./configurations.nix);

  # The live system's roles; what else it configures is NixOS's and is left unread.
  live =
    let
      inherit
        (lib.evalModules {
          specialArgs.modulesPath = toString ./live_surface;
          modules = base ++ [
            ../../iso
            { _module.check = false; }
            {
              _module.args.pkgs =
                let
                  packages = import ./packages.nix { inherit lib; };
                in
                packages
                // {
                  writeShellApplication =
                    { name, ... }:
                    packages.daiic // {
                      inherit name;
                      outPath = "/opt/${name}";
                      meta.mainProgram = name;
                    };
                };
            }
          ];
        })
        config
        ;
    in
    {
      refused = map (assertion: assertion.message) (
        builtins.filter (assertion: !assertion.assertion) config.assertions
      );
      services = lib.mapAttrs (_: service: {
        inherit (service) wantedBy serviceConfig;
      }) config.systemd.services;
      settings = lib.mapAttrs (_: role: role.settings) (
        lib.filterAttrs (_: role: role.enable or false) config.services.daiic
      );
      firewall = config.networking.firewall;
    };

  # What is wrong with machines of the documentation, given as files.
  examples = map (
    example:
    let
      inherit
        (lib.evalModules {
          modules = base ++ [
            ./third_parties.nix
            example
          ];
        })
        config
        ;
    in
    {
      refused = map (assertion: assertion.message) (
        builtins.filter (assertion: !assertion.assertion) config.assertions
      );
      inherit (config) warnings;
      programs = lib.mapAttrs (_: service: service.serviceConfig.ExecStart or "") config.systemd.services;
    }
  ) examples;

  scenarios = lib.mapAttrs (_: lib.mapAttrs (_: evaluate)) (import ../nixos/scenarios.nix);

  options = lib.pipe (lib.evalModules { modules = base; }).options.services.daiic [
    lib.optionAttrSetToDocList
    (builtins.filter (option: option.visible && !option.internal))
    (map (option: {
      inherit (option) name;
      described = option ? description;
    }))
  ];
}
