# The functions of nixpkgs' `lib` that pkgs/, images/ and flake.nix call, for machines without a nixpkgs. Those
# that compose package sets do it exactly as nixpkgs does (lib/fixed-points.nix, lib/customisation.nix): what would
# recurse without end there has to do so here.
let
  inherit (builtins)
    attrNames
    attrValues
    concatLists
    concatStringsSep
    functionArgs
    hasAttr
    intersectAttrs
    isAttrs
    isFunction
    listToAttrs
    map
    mapAttrs
    removeAttrs
    ;

  lib = {
    inherit attrNames concatStringsSep mapAttrs;

    fix =
      f:
      let
        x = f x;
      in
      x;
    extends =
      overlay: f: final:
      let
        prev = f final;
      in
      prev // overlay final prev;
    composeExtensions =
      f: g: final: prev:
      let
        fApplied = f final prev;
        prev' = prev // fApplied;
      in
      fApplied // g final prev';
    composeManyExtensions = builtins.foldl' lib.composeExtensions (_: _: { });

    # A function's result that can be made anew with other arguments.
    makeOverridable =
      f: arguments:
      let
        result = f arguments;
        override =
          changes:
          lib.makeOverridable f (arguments // (if isFunction changes then changes arguments else changes));
      in
      if isAttrs result then result // { inherit override; } else result;
    callPackageWith =
      scope: file: arguments:
      let
        f = if isFunction file then file else import file;
      in
      lib.makeOverridable f (intersectAttrs (functionArgs f) scope // arguments);
    makeScope =
      newScope: f:
      let
        self = f self // {
          callPackage = newScope self;
          inherit newScope;
        };
      in
      self;

    genAttrs =
      names: f:
      listToAttrs (
        map (name: {
          inherit name;
          value = f name;
        }) names
      );
    optional = condition: value: if condition then [ value ] else [ ];
    optionals = condition: values: if condition then values else [ ];
    optionalAttrs = condition: attributes: if condition then attributes else { };
    optionalString = condition: text: if condition then text else "";

    versionAtLeast = a: b: builtins.compareVersions a b >= 0;
    importTOML = path: fromTOML (builtins.readFile path);

    removeSuffix =
      suffix: text:
      if lib.hasSuffix suffix text then
        builtins.substring 0 (builtins.stringLength text - builtins.stringLength suffix) text
      else
        text;

    getLib = package: package;
    getExe' = package: program: "${package}/bin/${program}";
    getExe = package: lib.getExe' package package.meta.mainProgram;

    hasSuffix =
      suffix: text:
      let
        start = builtins.stringLength text - builtins.stringLength suffix;
      in
      start >= 0 && builtins.substring start (-1) text == suffix;
    # The files themselves are not looked at.
    fileset = {
      toSource = { root, fileset }: builtins.seq fileset (toString root);
      unions = sets: builtins.deepSeq sets sets;
      maybeMissing = path: [ ];
      fileFilter = _: path: [ path ];
    };

    licenses = {
      bsd3.free = true;
      asl20.free = true;
    };
    platforms.linux = [
      "x86_64-linux"
      "aarch64-linux"
    ];
    sourceTypes.binaryNativeCode = "binaryNativeCode";
  };
in
lib
