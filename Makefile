# The commands of README.md by shorter names.

.PHONY: demo test check clean

demo:
	@sh -c "$$(grep -m1 'bin/sdcaffe train' README.md)"

test:
	@sh -c "$$(grep -m1 'python -m pytest' README.md)"

check:
	@.ci/run

clean:
	rm -rf .venv build dist *.egg-info runs
