# The HTTP server with its page, on a CPU or, with TORCH=cuda, on an NVIDIA GPU:
#   docker build -t echomimic .
#   docker build -t echomimic --build-arg TORCH=cuda --build-arg EXTRAS=serve,diffusion .
#   docker run --rm -p 127.0.0.1:8000:8000 -v echomimic:/data -e ECHOMIMIC_NO_KEY=1 echomimic
# The last line is for one machine: only programs on it reach the port. With -p 8000:8000, give API keys instead:
# -e ECHOMIMIC_API_KEYS=a-key-of-16-or-more-letters.
FROM python:3.12-slim

ARG EXTRAS=serve
ARG TORCH=cpu

RUN useradd --create-home --uid 1000 echomimic && install -d -o echomimic /data
WORKDIR /app
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY src src
# hadolint ignore=DL3013
RUN if [ "$TORCH" = cpu ]; then export PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu; fi \
    && pip install --no-cache-dir ".[$EXTRAS]"

USER 1000
RUN echomimic models fetch
ENV ECHOMIMIC_DATA=/data ECHOMIMIC_WEIGHTS=/data/weights
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
CMD ["echomimic", "serve", "--host", "0.0.0.0", "--port", "8000"]
