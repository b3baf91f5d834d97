"""Convert weights, nets and data sets to and from other formats.

To add `sdcaffe convert my-format`, add one file here, `my_format.py`: a docstring whose first line help shows,
`EXAMPLE`, `add_flags(parser)` and `run(args)`, as any command has (see sdcaffe/commands/__init__.py). What does
the work is a function of the package `converters`, imported in `run`. A function that takes a while calls its
argument `tick(done, total)`, and `run` shows that on a terminal:

    with sdcaffe.run.progress.bar("images") as tick:
        converters.my_format.convert(args.input, args.output, tick=tick)
"""
