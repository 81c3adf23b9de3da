/* Starts a program that was copied from Debian with the loader and the libraries that were copied beside it. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
    char **arguments = calloc(argc + 6, sizeof *arguments);
    if (!arguments) return 111;
    char *start[] = {LOADER, "--argv0", argv[0], "--library-path", LIBRARIES, PROGRAM};
    int count = 0;
    for (; count < 6; count++) arguments[count] = start[count];
    for (int i = 1; i < argc; i++) arguments[count++] = argv[i];
    execv(LOADER, arguments);
    perror(LOADER);
    return 111;
}
