// libcuda.so.1 with nothing in it: whether there is a driver is asked by its name alone.
extern "C" int agon_stand_in_driver() { return 0; }
