"""The fleet's certificate authority: who a board, a program or a broker is."""
