"""HTTP, whichever API speaks over it: connections, access, bodies, errors and answers."""
