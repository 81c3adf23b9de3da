# Stands for the module of NixOS of this name.
{ }
