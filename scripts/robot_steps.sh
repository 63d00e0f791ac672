#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# README's steps "On a robot", as functions that docker/Dockerfile, `make test-robot` and .ci/ros run.
# usage, in the workspace and with ROS sourced: src/shufflenet_ros/scripts/robot_steps.sh FUNCTION [ARGUMENT...]
set -euo pipefail

build_packages() {  # apt names of what building and installing need
    echo g++ python3-pip
}

runtime_packages() {  # apt names of what a package.xml needs at run time. rosdep resolves the same keys
    sed -n 's:.*<exec_depend>\(.*\)</exec_depend>.*:\1:p' "$1" | while read -r key; do
        case $key in
            shufflenet_ros_msgs) ;;  # is built beside the package
            python3-*) echo "$key" ;;
            *) echo "ros-$ROS_DISTRO-${key//_/-}" ;;
        esac
    done
}

install_packages() {  # as root
    apt-get -q update
    apt-get -q -y install --no-install-recommends "$@"
    rm -rf /var/lib/apt/lists/*
}

install_dependencies() {  # needs rosdep
    rosdep install --ignore-src --from-paths src src/shufflenet_ros/interfaces "$@"
}

install_onnxruntime() {
    PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --user --no-deps onnxruntime
}

build_workspace() {
    colcon build --base-paths src src/shufflenet_ros/interfaces
}

"$@"
