"""Make the bucket that the warehouse keeps its segments in, unless it is there."""

from __future__ import annotations

import os

import boto3
from botocore.exceptions import ClientError

_THERE = ("BucketAlreadyOwnedByYou", "BucketAlreadyExists")


def main() -> None:
    bucket = os.environ["TIMESTORE_S3_BUCKET"]
    store = boto3.client("s3", endpoint_url=os.environ["TIMESTORE_S3_ENDPOINT"], region_name=os.environ["TIMESTORE_S3_REGION"])
    try:
        store.create_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] not in _THERE:
            raise
    store.head_bucket(Bucket=bucket)


if __name__ == "__main__":
    main()
