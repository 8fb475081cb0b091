"""Tests of one connection to one broker: `stomp_web.client`."""
