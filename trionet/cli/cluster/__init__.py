"""``trionet up --hosts``: a cluster over several machines, from one file."""
