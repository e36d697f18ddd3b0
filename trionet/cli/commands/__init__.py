"""The commands that are clients of a running node; one file each, or one for several alike, on `trionet.cli.frame`."""
