"""What makes the scan fast and small in memory; reading `clusterscan.scan` needs none of it.

Every part can be taken out and the maps stay the same, to the bytes or to rounding (5e-6 in
probability, from another order of the same sums) except for the one approximation, `coarse`.

==============  =============================================  ===================================
part            what it does                                   what it keeps, and when it is used
==============  =============================================  ===================================
`scan_copy`     Builds the copy of a network that scans: batch  Logits to rounding; always. A finer
                norms merged into convolutions, 1 x 1           grid (`step_px`) of a deep network
                convolutions as matrix products, strides        averages shifted windows: smoother,
                taken out for a finer grid.                     the same network.
`strips`        Computes the first, largest layers in strips    Logits to rounding; where the first
                of rows, so that a chunk can hold a tile.       layers are the largest.
`chunks`        Divides a tile's grid into the cheapest         Logits to rounding; every dense
                rectangles that fit into memory.                scan.
`coarse`        Looks on a wide grid first, finely only where   Candidates above the threshold, not
                that could show a candidate.                    all values; with `coarse_step_px`.
`memory`        Keeps freed memory in the process, and gives    Same bytes; always, on Linux with
                it back when the process holds much.            glibc.
`read_ahead`    Reads the next tiles while one is scanned.      Same bytes; with `read_ahead`, for
                                                                GPUs that wait for a disk.
==============  =============================================  ===================================
"""
