# The whole-machine tests by name, each with its machines.
{
}
