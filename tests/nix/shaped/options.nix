# How DAIIC's modules declare options and define them: nixpkgs' lib/options.nix and the properties of lib/modules.nix.
lib:
let
  property = _type: content: content // { inherit _type; };
  text = name: text: {
    _type = name;
    inherit text;
  };
in
rec {
  mkOption = property "option";
  isOption = value: value._type or "" == "option";
  mkEnableOption =
    what:
    mkOption {
      type = lib.types.bool;
      default = false;
      description = "Whether to enable ${what}.";
    };
  mkPackageOption =
    packages: name:
    {
      nullable ? false,
      default ? name,
      ...
    }:
    mkOption {
      type = if nullable then lib.types.nullOr lib.types.package else lib.types.package;
      default = if default == null then null else packages.${name};
      description = "The ${name} package to use.";
    };

  mkIf = condition: content: property "if" { inherit condition content; };
  mkMerge = contents: property "merge" { inherit contents; };
  mkOverride = priority: content: property "override" { inherit priority content; };
  mkOptionDefault = mkOverride 1500;
  mkDefault = mkOverride 1000;
  mkForce = mkOverride 50;

  literalExpression = text "literalExpression";
  literalMD = text "literalMD";

  showOption = builtins.concatStringsSep ".";
  collect =
    predicate: value:
    if predicate value then
      [ value ]
    else if builtins.isAttrs value then
      builtins.concatMap (collect predicate) (builtins.attrValues value)
    else
      [ ];
  optionAttrSetToDocList =
    options:
    map (
      option:
      {
        name = showOption option.loc;
        visible = option.visible or true;
        internal = option.internal or false;
      }
      // lib.filterAttrs (name: _: name == "description") option
    ) (collect isOption options);
}
