# The types of options that DAIIC's modules name, which say what a definition may be and how several are joined.
lib:
let
  inherit (builtins)
    all
    any
    attrNames
    concatMap
    elem
    filter
    head
    isAttrs
    isList
    isString
    length
    ;

  shown = builtins.concatStringsSep ".";

  mergeOne =
    location: definitions:
    if length definitions == 1 then
      (head definitions).value
    else
      throw "The option `${shown location}' is defined multiple times.";

  mergeEqual =
    location: definitions:
    let
      first = (head definitions).value;
    in
    if all (definition: definition.value == first) definitions then
      first
    else
      throw "The option `${shown location}' has conflicting definition values.";

  type =
    name: check:
    {
      _type = "option-type";
      inherit name check;
      merge = mergeEqual;
    };

  isInt = builtins.isInt;
  isNumber = value: isInt value || builtins.isFloat value;
  isPath = value: (isString value || builtins.isPath value || value ? outPath) && lib.hasPrefix "/" (toString value);

  either =
    first: second:
    type "${first.name} or ${second.name}" (value: first.check value || second.check value)
    // {
      merge =
        location: definitions:
        let
          taken = filter (one: all (definition: one.check definition.value) definitions) [
            first
            second
          ];
        in
        if taken == [ ] then mergeOne location definitions else (head taken).merge location definitions;
    };

  listOf =
    element:
    type "list of ${element.name}" isList
    // {
      merge =
        location: definitions:
        concatMap (
          value:
          let
            merged = lib.mergeDefinitions (location ++ [ "*" ]) element [ value ];
          in
          lib.optional merged.isDefined merged.value
        ) (concatMap (definition: definition.value) definitions);
    };

  types = {
    inherit either listOf;

    raw = type "raw value" (_: true) // {
      merge = mergeOne;
    };
    unspecified = type "unspecified value" (_: true);
    anything = type "anything" (_: true) // {
      merge =
        location: definitions:
        if all (definition: isAttrs definition.value && !(definition.value ? outPath)) definitions then
          (types.attrsOf types.anything).merge location definitions
        else
          mergeEqual location definitions;
    };

    bool = type "boolean" builtins.isBool;
    int = type "signed integer" isInt;
    float = type "floating point number" builtins.isFloat;
    ints.positive = type "positive integer" (value: isInt value && value > 0);
    numbers.positive = type "positive number" (value: isNumber value && value > 0);
    numbers.between =
      lowest: highest:
      type "number from ${toString lowest} to ${toString highest}" (
        value: isNumber value && value >= lowest && value <= highest
      );
    port = type "port" (value: isInt value && value >= 0 && value <= 65535);

    str = type "string" isString;
    lines = type "text" isString // {
      merge = _location: definitions: builtins.concatStringsSep "\n" (map (definition: definition.value) definitions);
    };
    singleLineStr = type "line" (value: isString value && !lib.hasInfix "\n" value);
    strMatching =
      pattern: type "string matching ${pattern}" (value: isString value && builtins.match pattern value != null);
    enum = values: type "one of ${builtins.toJSON values}" (value: elem value values);

    path = type "absolute path" isPath;
    externalPath = type "absolute path outside the store" (
      value: isPath value && !lib.hasPrefix builtins.storeDir (toString value)
    );
    package = type "package" (value: value.type or "" == "derivation") // {
      merge = mergeOne;
    };

    nullOr =
      inner:
      type "null or ${inner.name}" (value: value == null || inner.check value)
      // {
        merge =
          location: definitions:
          if any (definition: definition.value == null) definitions then
            mergeEqual location definitions
          else
            inner.merge location definitions;
      };
    oneOf = several: builtins.foldl' either (head several) (builtins.tail several);
    nonEmptyListOf = element: listOf element // { check = value: isList value && value != [ ]; };

    attrsOf =
      element:
      type "attribute set of ${element.name}" isAttrs
      // {
        merge =
          location: definitions:
          let
            pushed = concatMap (definition: lib.pushDown definition.value) definitions;
            merged = lib.genAttrs (lib.unique (concatMap attrNames pushed)) (
              name:
              lib.mergeDefinitions (location ++ [ name ]) element (
                concatMap (attributes: lib.optional (attributes ? ${name}) attributes.${name}) pushed
              )
            );
          in
          builtins.mapAttrs (_: one: one.value) (lib.filterAttrs (_: one: one.isDefined) merged);
      };

    submodule =
      module:
      type "submodule" (value: isAttrs value || builtins.isFunction value || builtins.isPath value)
      // {
        merge =
          location: definitions:
          (lib.evalModules {
            modules = [ module ] ++ map (definition: definition.value) definitions;
            specialArgs.name = lib.last location;
            prefix = location;
          }).config;
      };
  };
in
{
  inherit types;
  mergeEqualOption = mergeEqual;
  mkOptionType = arguments: type arguments.name (_: true) // arguments;
}
