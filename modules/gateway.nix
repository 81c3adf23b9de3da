# services.daiic.gateway: the OpenAI-compatible HTTP API and the cluster's web page.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  role = import ./role.nix { inherit config lib pkgs; } "gateway";
  cfg = config.services.daiic.gateway;

  # systemd reads the keys' file, which only root can read, when a unit starts. So the gateway reads a copy of it,
  # and a second unit of the same user makes that copy again whenever the file changes.
  keysUnit = "${role.unit}-keys";
  withKeys = lib.mkIf (cfg.apiKeysFile != null);
  runtimeKeys = "/run/${role.unit}/api-keys";
  copyKeys = [
    "${lib.getExe' pkgs.coreutils "install"} --mode=0400 %d/api-keys ${runtimeKeys}.new"
    "${lib.getExe' pkgs.coreutils "mv"} --force ${runtimeKeys}.new ${runtimeKeys}"
  ];
in
{
  imports = [ ./machine.nix ];

  options.services.daiic.gateway = role.options // {
    enable = lib.mkEnableOption "DAIIC's gateway, the OpenAI-compatible HTTP API of the cluster";
    package = lib.mkPackageOption pkgs "daiic" { };

    listen = role.listenOption "127.0.0.1:7700" {
      description = ''
        Address and port of the HTTP API. It speaks plain HTTP: on a network that you do not trust, put a proxy
        that terminates TLS in front of it. An address other than loopback requires
        {option}`services.daiic.gateway.apiKeysFile`.
      '';
    };

    httpListen = role.httpListenOption "127.0.0.1:7701";

    heads = role.headsOption;

    apiKeysFile = mkOption {
      type = types.nullOr types.externalPath;
      default = null;
      example = "/run/secrets/daiic-api-keys";
      description = ''
        File with the API keys that clients may send as `Authorization: Bearer KEY`, managed with
        `daiic apikey create` and `daiic apikey revoke`. Changes take effect at once, without a restart: a revoked
        key is refused, and requests that are running with it end.
        With `null`, the gateway accepts every client that reaches it, but listens on loopback only.
      '';
    };

    oidcClientSecretFile = mkOption {
      type = types.nullOr types.externalPath;
      default = null;
      example = "/run/secrets/daiic-oidc";
      description = ''
        File with the secret of the gateway's client at the OpenID Connect provider through which people log in to
        the page. The provider and who may log in are set in {option}`services.daiic.gateway.settings`
        (`oidc_issuer`, `oidc_client_id`, `oidc_allowed_emails` …), together with `public_url`.
      '';
    };

    corsOrigins = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "https://chat.example.org" ];
      description = "Origins of web pages that may call the API from a browser.";
    };
  };

  config = lib.mkIf cfg.enable {
    services.daiic.gateway.settings = lib.mapAttrs (_: lib.mkDefault) {
      inherit (cfg) listen;
      inherit (role) heads;
      http_listen = cfg.httpListen;
      allow_unauthenticated = cfg.allowUnauthenticated;
      cors_origins = cfg.corsOrigins;
      cluster_key_file = lib.optionalString (cfg.clusterKeyFile != null) (role.credential "cluster-key");
      state_dir = "/var/lib/${role.unit}";
      api_keys_file = lib.optionalString (cfg.apiKeysFile != null) runtimeKeys;
      oidc_client_secret_file = lib.optionalString (cfg.oidcClientSecretFile != null) (
        role.credential "oidc-client-secret"
      );
    };

    assertions = [
      role.headAssertion
      role.keyAssertion
      {
        assertion =
          role.addresses.isLoopback cfg.settings.listen
          || cfg.apiKeysFile != null
          || (cfg.settings.oidc_issuer or "") != ""
          || (cfg.settings.allow_keyless_public or false);
        message =
          "services.daiic.gateway.listen = \"${cfg.settings.listen}\" would serve everyone who reaches it. Make a "
          + "file of API keys with `daiic apikey create` and set services.daiic.gateway.apiKeysFile to it; to serve "
          + "everyone, services.daiic.gateway.settings.allow_keyless_public = true.";
      }
    ];

    systemd.services.${role.unit} = lib.mkMerge [
      (role.service {
        description = "DAIIC gateway";
        executable = "daiic-gateway";
        credentials = {
          cluster-key = cfg.clusterKeyFile;
          api-keys = cfg.apiKeysFile;
          oidc-client-secret = cfg.oidcClientSecretFile;
        };
        serviceConfig = {
          StateDirectory = role.unit;
          StateDirectoryMode = "0700";
        };
      })
      (withKeys {
        wants = [ "${keysUnit}.path" ];
        serviceConfig = {
          RuntimeDirectory = role.unit;
          RuntimeDirectoryMode = "0700";
          ExecStartPre = copyKeys;
        };
      })
    ];

    systemd.paths.${keysUnit} = withKeys {
      description = "Changes of the API keys of DAIIC's gateway";
      partOf = [ "${role.unit}.service" ];
      before = [ "${role.unit}.service" ];
      pathConfig.PathChanged = cfg.apiKeysFile;
    };

    systemd.services.${keysUnit} = withKeys {
      description = "Copy of the API keys for DAIIC's gateway";
      # Not while it starts: it may then have read the keys just before they changed.
      after = [ "${role.unit}.service" ];
      startLimitIntervalSec = 0;
      # The folder belongs to the gateway and disappears with it. If it were this unit's runtime directory too,
      # systemd could move or remove it while the gateway uses it.
      unitConfig.ConditionPathExists = "/run/${role.unit}";
      serviceConfig = import ./hardening.nix // {
        Type = "oneshot";
        User = role.unit;
        LoadCredential = "api-keys:${cfg.apiKeysFile}";
        ReadWritePaths = "/run/${role.unit}";
        ExecStart = copyKeys;
      };
    };

    networking.firewall.allowedTCPPorts = lib.mkIf cfg.openFirewall [
      (role.addresses.port cfg.settings.listen)
    ];

    environment.systemPackages = [ cfg.package ];
  };
}
