"""Tests of the publisher, the local outlets and the observers."""
