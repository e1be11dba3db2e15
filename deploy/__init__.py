"""What is put where: brokers, boards, and the program that provisions a board."""
