"""Ceph seen through the ports: images (rbd), fence (blocklist), hearts (rados objects).

What is true of all of it:

* librados blocks, so every call runs in a thread of a pool of its own purpose (`Connection`), with
  librados' own three timeouts inside and a deadline outside.
* A handle that was blocklisted (errno 108) stays shut for ever, and one that timed out may sit in
  TCP's back-off for a minute after the network has healed: both are thrown away; the next call
  connects anew, with a new entity address.
* Images that anybody may hold a lock on are opened read-only. A write-open adds a watcher of ours,
  and librbd may then wait 30 s for, or break, a dead client's lock.
"""
