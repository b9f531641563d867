# A stand-in for the official image of Spark where it can't be pulled: Debian, Java, and Spark from PyPI at the same
# place, under the same user. `docker build -f tests/spark/base.Dockerfile -t spark-base .`, then docker/spark.Dockerfile
# with --build-arg BASE=spark-base.
FROM debian:bookworm-slim
RUN apt-get update && \
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        openjdk-17-jre-headless python3 python3-pip && \
    rm -rf /var/lib/apt/lists/*
COPY kind/spark/requirements.txt /tmp/
RUN pip install --break-system-packages --no-cache-dir --target /opt/pip -r /tmp/requirements.txt && \
    ln -s /opt/pip/pyspark /opt/spark && \
    rm -r /opt/spark/python/pyspark && ln -s /opt/pip/pyspark /opt/spark/python/pyspark && \
    groupadd --gid 185 spark && useradd --uid 185 --gid 185 --no-create-home spark
ENV JAVA_HOME=/usr/lib/jvm/java-17-openjdk-amd64
