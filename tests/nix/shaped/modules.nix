# NixOS's module system as far as DAIIC's modules use it, for machines without nixpkgs' `lib`: imports, options with
# types and priorities, conditions that are pushed down to the options they guard, freeform settings. Where a whole
# nixpkgs is given, the tests hold what this makes of every machine against what nixpkgs makes of it.
lib:
let
  inherit (builtins)
    attrNames
    concatLists
    concatMap
    filter
    foldl'
    functionArgs
    genList
    head
    isAttrs
    isFunction
    isPath
    isString
    length
    mapAttrs
    ;

  kind = value: value._type or "";
  shown = builtins.concatStringsSep ".";

  # Conditions and priorities go down to the attributes, so that names are known before any condition is.
  pushDown =
    value:
    if kind value == "merge" then
      concatMap pushDown value.contents
    else if kind value == "if" then
      map (mapAttrs (_: lib.mkIf value.condition)) (pushDown value.content)
    else if kind value == "override" then
      map (mapAttrs (_: lib.mkOverride value.priority)) (pushDown value.content)
    else
      [ value ];

  # The values that hold, each with its priority.
  discharge =
    value:
    if kind value == "merge" then
      concatMap discharge value.contents
    else if kind value == "if" then
      if value.condition then discharge value.content else [ ]
    else if kind value == "override" then
      map (inner: inner // { inherit (value) priority; }) (discharge value.content)
    else
      [
        {
          inherit value;
          priority = 100;
        }
      ];

  # One value of a type out of all its definitions.
  mergeDefinitions =
    location: type: values:
    let
      all = concatMap discharge values;
      priority = foldl' (least: one: if one.priority < least then one.priority else least) 9999 all;
      definitions = filter (one: one.priority == priority) all;
      wrong = filter (one: !type.check one.value) definitions;
    in
    {
      inherit priority;
      isDefined = all != [ ];
      value =
        if all == [ ] then
          throw "The option `${shown location}' was accessed but has no value defined."
        else if wrong != [ ] then
          throw "A definition for option `${shown location}' is not of type `${type.description or type.name}'."
        else
          type.merge location definitions;
    };

  at = name: concatMap (attributes: if attributes ? ${name} then [ attributes.${name} ] else [ ]);

  # The options that all modules declare, as one tree.
  joinOptions =
    path: trees:
    lib.genAttrs (lib.unique (concatMap attrNames trees)) (
      name:
      let
        declared = at name trees;
        here = path ++ [ name ];
      in
      if !lib.isOption (head declared) then
        joinOptions here declared
      else if length declared > 1 then
        throw "The option `${shown here}' is already declared."
      else
        head declared
    );

  evaluateOption =
    path: option: values:
    let
      type = option.type or lib.types.unspecified;
      merged = mergeDefinitions path type (
        values ++ (if option ? default then [ (lib.mkOptionDefault option.default) ] else [ ])
      );
    in
    option
    // {
      loc = path;
      highestPrio = merged.priority;
      value = (option.apply or (value: value)) merged.value;
    };

  evaluateTree =
    path: tree: values:
    let
      pushed = concatMap pushDown values;
      below = mapAttrs (
        name: options:
        (if lib.isOption options then evaluateOption else evaluateTree) (path ++ [ name ]) options (
          at name pushed
        )
      ) tree;
      isLeaf = name: lib.isOption tree.${name};
    in
    {
      options = mapAttrs (name: one: if isLeaf name then one else one.options) below;
      config = mapAttrs (name: one: if isLeaf name then one.value else one.config) below;
      # Definitions that no option takes.
      rest = map (attributes: removeAttrs attributes (attrNames tree)) pushed;
      unknown =
        map (name: shown (path ++ [ name ])) (
          filter (name: !(tree ? ${name})) (concatMap attrNames pushed)
        )
        ++ concatMap (name: if isLeaf name then [ ] else below.${name}.unknown) (attrNames tree);
    };

  evalModules =
    {
      modules,
      specialArgs ? { },
      prefix ? [ ],
    }:
    let
      arguments = specialArgs // {
        inherit lib config options;
      };

      load =
        module:
        let
          given = if isPath module || isString module then import module else module;
          plain =
            if isFunction given then
              given (mapAttrs (name: _: arguments.${name} or config._module.args.${name}) (functionArgs given))
            else
              given;
          structured = plain ? config || plain ? options;
        in
        {
          imports = plain.imports or [ ];
          options = plain.options or { };
          freeform = if plain ? freeformType then [ plain.freeformType ] else [ ];
          config =
            if structured then
              plain.config or { }
            else
              removeAttrs plain [
                "_file"
                "freeformType"
                "imports"
                "key"
              ];
        };

      # A file that several modules import counts once.
      items =
        parent: list:
        genList (
          index:
          let
            module = builtins.elemAt list index;
          in
          {
            key = if isPath module || isString module then toString module else "${parent}:${toString index}";
            loaded = load module;
          }
        ) (length list);
      collected = map (item: item.loaded) (
        builtins.genericClosure {
          startSet = items "" modules;
          operator = item: items item.key item.loaded.imports;
        }
      );

      # nixpkgs joins lists from the last module to the first.
      reversed = foldl' (list: module: [ module ] ++ list) [ ] collected;

      own._module = {
        args = lib.mkOption {
          type = lib.types.attrsOf lib.types.raw;
          default = { };
        };
        check = lib.mkOption {
          type = lib.types.bool;
          default = true;
        };
      };
      evaluated = evaluateTree prefix (joinOptions prefix (
        [ own ] ++ map (module: module.options) reversed
      )) (map (module: module.config) reversed);

      freeform = concatLists (map (module: module.freeform) collected);
      config =
        evaluated.config
        // (
          if freeform == [ ] then
            { }
          else
            (head freeform).merge prefix (map (value: { inherit value; }) evaluated.rest)
        );
      inherit (evaluated) options;
    in
    {
      options = removeAttrs options [ "_module" ];
      config =
        if freeform == [ ] && config._module.check && evaluated.unknown != [ ] then
          throw "The option `${head evaluated.unknown}' does not exist."
        else
          removeAttrs config [ "_module" ];
    };
in
{
  inherit evalModules mergeDefinitions pushDown;
}
