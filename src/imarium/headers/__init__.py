"""Headers of files that are made anew, for the server's writers and for the client, which writes them too."""
