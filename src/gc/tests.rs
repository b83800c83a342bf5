mod barrier;
mod collectible;
mod holds;
mod naive;
mod random;
mod references;
mod roots;
mod world;
