"""What the tests share: a clock that is moved by hand, and servers that break things for real."""
