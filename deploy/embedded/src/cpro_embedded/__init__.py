"""The real servers on free local ports, for the demo, the development stack and the tests."""
