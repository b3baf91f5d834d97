# The commands of README.md by shorter names.

.PHONY: demo test check prototxt stubs results docs clean

demo:
	@sh -c "$$(grep -m1 'bin/sdcaffe train' README.md)"

test:
	@sh -c "$$(grep -m1 'python -m pytest' README.md)"

check:
	@.ci/run

prototxt:
	@.venv/bin/python -m sdcaffe.paper

stubs:
	@.venv/bin/python -m sdcaffe.proto.stubs sdcaffe.forks sdcaffe.paper.layers

results:
	@.venv/bin/python -m sdcaffe.paper.results

docs:
	@.venv/bin/python docs/write_commands.py && .venv/bin/mkdocs build --strict -q

clean:
	rm -rf .venv build dist site *.egg-info runs
