# The functions of nixpkgs' `lib` that the project calls, for machines without a nixpkgs. Those that compose package
# sets do it exactly as nixpkgs does (lib/fixed-points.nix, lib/customisation.nix): what would recurse without end
# there has to do so here.
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

  lib = import ./modules.nix lib // import ./types.nix lib // import ./options.nix lib // {
    inherit
      attrNames
      concatLists
      concatStringsSep
      mapAttrs
      ;
    inherit (builtins) any groupBy;

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

    # A function's result that can be made again with other arguments.
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
    nameValuePair = name: value: { inherit name value; };
    mapAttrsToList = f: attributes: attrValues (mapAttrs f attributes);
    mapAttrs' = f: attributes: listToAttrs (lib.mapAttrsToList f attributes);
    filterAttrs =
      predicate: attributes:
      removeAttrs attributes (
        builtins.filter (name: !predicate name attributes.${name}) (attrNames attributes)
      );
    pipe = builtins.foldl' (value: f: f value);
    last = list: builtins.elemAt list (builtins.length list - 1);
    unique = builtins.foldl' (
      seen: value: if builtins.elem value seen then seen else seen ++ [ value ]
    ) [ ];
    # Of numbers, which are all that is sorted with it here.
    naturalSort = builtins.sort (a: b: lib.toInt a < lib.toInt b);
    toInt = builtins.fromJSON;

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
    makeBinPath = packages: concatStringsSep ":" (map (package: "${package}/bin") packages);
    getExe' = package: program: "${package}/bin/${program}";
    getExe = package: lib.getExe' package package.meta.mainProgram;

    concatMapStrings = f: list: concatStringsSep "" (map f list);
    concatMapStringsSep =
      separator: f: list:
      concatStringsSep separator (map f list);
    concatMapAttrsStringSep =
      separator: f: attributes:
      concatStringsSep separator (lib.mapAttrsToList f attributes);
    splitString =
      separator: text: builtins.filter builtins.isString (builtins.split (lib.escapeRegex separator) text);
    escapeRegex =
      let
        special = [
          "\\"
          "["
          "{"
          "("
          ")"
          "^"
          "$"
          "?"
          "*"
          "+"
          "|"
          "."
        ];
      in
      builtins.replaceStrings special (map (character: "\\${character}") special);
    hasInfix = infix: text: builtins.length (lib.splitString infix text) > 1;
    hasPrefix = prefix: text: builtins.substring 0 (builtins.stringLength prefix) text == prefix;
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
      fromSource = path: [ path ];
    };
    sources.cleanSource = path: path;

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
