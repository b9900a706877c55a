//! The dashboard's pages, as a browser gets them, over a catalog of our own.

mod detail;
mod json;
mod live;
mod overview;
mod safety;
mod size;
mod world;
